#!/bin/sh
# Make the virtual environment $2 with the Python $1. A bare Debian or Ubuntu has python3 without
# venv: root installs it, anybody else is told the one command.
set -eu
python=$1 venv=$2

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "dkv needs Python 3.11 or newer; $python is $("$python" -V 2>&1)" >&2
    exit 1
}
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "The module venv is missing. Install it, then type make again:" >&2
        echo "    sudo apt-get install $package" >&2
        exit 1
    fi
    echo "Installing $package ..."
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$package" >/dev/null
fi
echo "Setting up $venv (once) ..."
rm -rf "$venv"
"$python" -m venv "$venv"
