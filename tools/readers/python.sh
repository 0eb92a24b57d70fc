#!/usr/bin/env bash
# Prints the path of a Python that has the packages of requirements.txt; they are installed once.
#
#   python.sh
#
# They are kept in ${CATCHMENT_CACHE:-$HOME/.cache/catchment}/readers-<hash of requirements.txt>.
# Exit codes: 1 the packages could not be installed, 2 usage, 3 python3 or its venv module is missing.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
hash=$(sha256sum "$here/requirements.txt" | cut -c 1-12)
venv=${CATCHMENT_CACHE:-$HOME/.cache/catchment}/readers-$hash

need() { # PACKAGE COMMAND...
    "${@:2}" >/dev/null 2>&1 || {
        echo "python.sh: $1 is missing: install it" >&2
        exit 3
    }
}

install() {
    [ -f "$venv/.complete" ] && return
    mkdir -p "$(dirname "$venv")"
    # Two at once would clear each other's.
    exec 9>"$venv.lock"
    flock 9
    [ -f "$venv/.complete" ] && return
    need python3 python3 --version
    need python3-venv python3 -c "import ensurepip, venv"
    echo "installing the readers' packages into $venv" >&2
    python3 -m venv --clear "$venv" >&2
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt" >&2
    touch "$venv/.complete"
}

[ $# -eq 0 ] || {
    sed -n 's/^#   //p' "${BASH_SOURCE[0]}" >&2
    exit 2
}
install
echo "$venv/bin/python"
