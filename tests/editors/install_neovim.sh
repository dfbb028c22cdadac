#!/bin/sh
# Puts a real Neovim 0.12 for the editor tests into a folder of its own and prints its path as the last line.
#
# A Neovim >= 0.12 on PATH is used as it is. Otherwise Debian's sid packages are downloaded through the host's own
# apt (private lists, private cache), unpacked and pointed at their own loader and libraries, so that nothing of the
# host changes. The folder appears by one rename at the end: a broken download leaves nothing.
# With --find it only looks, and downloads nothing.
set -eu

minor=12
home=${STARLING_TEST_HOSTS:-${XDG_CACHE_HOME:-$HOME/.cache}/starling-test-hosts}/neovim

fail() {
    echo "install_neovim: $1" >&2
    exit 2
}

. "$(dirname "$0")/private_apt.sh"

# Whether the Neovim at $1 runs and is 0.$minor or later.
recent() {
    version=$("$1" --version 2>/dev/null | sed -n '1s/^NVIM v\([0-9]*\)\.\([0-9]*\).*/\1 \2/p')
    set -- $version
    [ $# -eq 2 ] && { [ "$1" -gt 0 ] || [ "$2" -ge "$minor" ]; }
}

# Neovim and all it depends on, by apt's own resolution: package names that carry versions are written nowhere.
download() {
    archive=$(host_archive)
    [ -n "$archive" ] || fail "apt names no Debian archive for this release; install Neovim >= 0.$minor yourself."
    private_folders "$archive" sid
    private_apt -o APT::Update::Error-Mode=any update >&2 ||
        fail "apt could not read the package list of Debian sid; check the network."
    private_apt --no-install-recommends -y -d install neovim patchelf >&2 ||
        fail "apt could not download Neovim from Debian sid; try again later."
}

unpack() {
    mkdir "$work/root"
    for package in "$work"/cache/archives/*.deb; do
        dpkg -x "$package" "$work/root" || fail "$package is not a Debian package; try again."
    done
}

# The unpacked loader, relative to the root.
loader() {
    (cd "$work/root" && find usr -name 'ld-linux-*.so.*' | sort | head -n 1)
}

# Makes the binary use its own loader and libraries at their final place, and only there: children see nothing of it.
# (Started through the loader instead, `v:progpath` is the loader, and the terminal interface can't start its server.)
bind() {
    loader=$(loader)
    [ -n "$loader" ] || fail "Debian's libc6 came without a loader; report this with the output above."
    libraries=$(dirname "$loader")
    "$work/root/$loader" --library-path "$work/root/$libraries" "$work/root/usr/bin/patchelf" \
        --set-interpreter "$home/$loader" --force-rpath --set-rpath "$home/$libraries" "$work/root/usr/bin/nvim" ||
        fail "the downloaded Neovim could not be bound to its libraries; report this with the output above."
}

wrapper() {
    cat >"$work/root/nvim" <<END
#!/bin/sh
VIMRUNTIME='$home/usr/share/nvim/runtime' exec '$home/usr/bin/nvim' "\$@"
END
    chmod +x "$work/root/nvim"
}

if path=$(command -v nvim) && recent "$path"; then
    echo "$path"
    exit
fi
if recent "$home/nvim"; then
    echo "$home/nvim"
    exit
fi
[ "${1:-}" != --find ] || fail "no Neovim >= 0.$minor here; run tests/editors/install_neovim.sh to get one."
for tool in apt-get dpkg; do
    command -v "$tool" >/dev/null ||
        fail "no Neovim >= 0.$minor on PATH and no $tool to fetch one with; install Neovim >= 0.$minor yourself."
done

mkdir -p "$(dirname "$home")"
work=$(mktemp -d "$home.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 2' HUP INT TERM
download
unpack
bind
wrapper
rm -rf "$home"
mv "$work/root" "$home"
recent "$home/nvim" || fail "the Neovim put into $home does not run; report this with the output above."
echo "$home/nvim"
