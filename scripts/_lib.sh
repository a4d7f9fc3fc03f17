# shellcheck shell=bash
# What the scripts share: where the project is, how they speak, and where they keep tools of their own.

# shellcheck disable=SC2034 # for those who source this
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# outside the checkout, so that a fresh clone finds them again
tools=${XDG_DATA_HOME:-$HOME/.local/share}/refreshd/tools
PATH=$tools/bin:$PATH

say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }

die() {
  say "$@"
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# A shim of a version manager can be there and still have nothing behind it: only an answer counts.
have_uv() { uv --version >/dev/null 2>&1; }
