#!/bin/sh
# Make the virtual environment $2 with the Python $1. Empty: the system's, else `python3`.
#
# The system's first, for its distribution builds it with profile-guided optimisation. One that
# pyenv built by default costs the nodes a third to a half more CPU a put (measured).
# A bare Debian or Ubuntu has python3 without venv: root installs it, anybody else is told the one
# command, if there is no other Python that would do.
set -eu
wanted=$1 venv=$2

is_new() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
has_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }
package_of() { "$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'; }
may_install() { [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; }
install_venv() {
    echo "Installing $(package_of "$1") ..."
    apt-get update -qq || return 1
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$(package_of "$1")" >/dev/null
}

chosen=""
for python in ${wanted:-/usr/bin/python3 python3}; do
    is_new "$python" || continue
    if has_venv "$python" || { may_install && install_venv "$python" && has_venv "$python"; }; then
        chosen=$python
        break
    fi
done
if [ -z "$chosen" ]; then
    for python in ${wanted:-/usr/bin/python3 python3}; do
        is_new "$python" || continue
        echo "The module venv of $python is missing. Install it, then type make again:" >&2
        echo "    sudo apt-get install $(package_of "$python")" >&2
        exit 1
    done
    python=${wanted:-python3}
    found=$("$python" -V 2>/dev/null || echo missing)
    echo "dkv needs Python 3.11 or newer; $python is $found. Name another: make PYTHON=..." >&2
    exit 1
fi
echo "Setting up $venv with $("$chosen" -V) of $(command -v "$chosen") (once) ..."
rm -rf "$venv"
"$chosen" -m venv "$venv"
