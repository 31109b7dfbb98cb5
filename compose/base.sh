#!/bin/sh
# base.sh [IMAGE]: print the image that dkv is built on here. That is IMAGE, if it is named; else the
# one of .env, if the engine has it or a registry gives it; else one made of Debian's packages, once.
set -eu
made=dkv-base:bookworm
say() { echo "$*" >&2; }

engine() {
    docker info >/dev/null 2>&1 && return
    say "No Docker engine answers (docker info). Start one, or join the group docker."
    exit 1
}

has() { docker image inspect "$1" >/dev/null 2>&1; }

make_base() {
    if ! command -v debootstrap >/dev/null || [ "$(id -u)" -ne 0 ]; then
        say "No registry gives $1. Name a base that you have (BASE_IMAGE=…), or let root make one of"
        say "Debian's packages: apt-get install debootstrap, and the same command again."
        exit 1
    fi
    say "No registry gives $1: making $made of Debian's packages, a minute or two ..."
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm \
        "$folder" http://deb.debian.org/debian >"$folder.log" 2>&1 ||
        { tail -5 "$folder.log" >&2; exit 1; }
    # Packages may come through a proxy with an authority of its own: trust whom this machine does.
    cp /etc/ssl/certs/ca-certificates.crt "$folder/etc/ssl/certs/"
    printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n' >"$folder/etc/pip.conf"
    rm -rf "$folder/var/cache/apt" "$folder/var/lib/apt/lists" "$folder/usr/share/doc" \
        "$folder/usr/share/locale" "$folder/usr/share/man" "$folder.log"
    tar -C "$folder" -c . | docker import --message "Debian bookworm" - "$made" >/dev/null
}

engine
if [ -n "${1:-}" ]; then
    echo "$1"
    exit
fi
wanted=$(sed -n 's/^DKV_BASE_IMAGE=//p' "$(dirname "$0")/.env")
if has "$wanted" || docker pull --quiet "$wanted" >/dev/null 2>&1; then
    echo "$wanted"
else
    has "$made" || make_base "$wanted"
    echo "$made"
fi
