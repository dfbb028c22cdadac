# Sourced by the scripts beside it: apt in a folder of its own, $work, which sees and changes nothing of the host.
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# Address of the Debian archive that the host's apt uses for its own release.
host_archive() {
    apt-get indextargets --format '$(CREATED_BY) $(RELEASE) $(COMPONENT) $(REPO_URI)' |
        awk -v release="$(host_release)" '$1 == "Packages" && $2 == release && $3 == "main" { print $4; exit }'
}

# The release that the host runs.
host_release() {
    . /etc/os-release && echo "${VERSION_CODENAME:-}"
}

# Folders for private_apt, with the release $2 of the archive $1.
private_folders() {
    mkdir -p "$work/state" "$work/lists/partial" "$work/cache/archives/partial"
    echo "deb [signed-by=$keyring] $1 $2 main" >"$work/sources.list"
}

# apt with every folder it writes under $work, blind to what the host has installed.
private_apt() {
    apt-get -qq -o Dir::State="$work/state" -o Dir::State::Lists="$work/lists" -o Dir::State::status=/dev/null \
        -o Dir::Cache="$work/cache" -o Dir::Etc::SourceList="$work/sources.list" \
        -o Dir::Etc::SourceParts=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
        -o APT::Sandbox::User="$(id -un)" -o Acquire::Languages=none -o Acquire::Retries=3 \
        -o Debug::NoLocking=true "$@"
}
