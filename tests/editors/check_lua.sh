#!/bin/sh
# luacheck and StyLua over the Neovim plugin; `check_lua.sh --fix` formats it.
#
# Both are put into a folder of their own first, once: luacheck from the host's own Debian release, StyLua from npm, where
# it is one WebAssembly file. Where that is not possible nothing is checked, unless STARLING_REQUIRE_EDITORS is 1.
set -eu

stylua=2.5.2
here=$(cd "$(dirname "$0")" && pwd)
plugin=$(cd "$here/../../editor-configs/neovim" && pwd)
home=${STARLING_TEST_HOSTS:-${XDG_CACHE_HOME:-$HOME/.cache}/starling-test-hosts}/lua-$stylua

fail() {
    echo "check_lua: $1" >&2
    [ "${STARLING_REQUIRE_EDITORS:-}" = 1 ] && exit 2
    exit 0
}

. "$here/private_apt.sh"

install() {
    archive=$(host_archive)
    [ -n "$archive" ] || fail "apt names no Debian archive for this release; the Lua files are not checked."
    private_folders "$archive" "$(host_release)"
    private_apt -o APT::Update::Error-Mode=any update >&2 || fail "apt could not read Debian's package list."
    (cd "$work" && private_apt download lua-check lua-argparse lua-filesystem lua5.1 >&2) ||
        fail "apt could not download luacheck."
    mkdir "$work/root"
    for package in "$work"/*.deb; do
        dpkg -x "$package" "$work/root"
    done
    npm install --silent --no-audit --no-fund --prefix "$work/root" "@johnnymorganz/stylua@$stylua" >&2 ||
        fail "npm could not download StyLua."
    cp "$here/stylua.mjs" "$work/root/"
    mv "$work/root" "$home"
}

for tool in apt-get dpkg node npm; do
    command -v "$tool" >/dev/null || fail "there is no $tool; the Lua files are not checked."
done
if [ ! -d "$home" ]; then
    mkdir -p "$(dirname "$home")"
    work=$(mktemp -d "$home.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 2' HUP INT TERM
    install
fi

cd "$plugin"
share=$home/usr/share/lua/5.1
export LUA_PATH="$share/?.lua;$share/?/init.lua"
LUA_CPATH=$(find "$home/usr/lib" -path '*/5.1/lfs.so' | sed 's,lfs.so$,?.so,') && export LUA_CPATH
"$home/usr/bin/lua5.1" "$home/usr/bin/luacheck" --no-color --quiet .
cp "$here/stylua.mjs" "$home/"
find . -name '*.lua' -exec node "$home/stylua.mjs" "${1:---check}" {} +
