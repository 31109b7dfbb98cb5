#!/bin/sh
# dkv-certs NODE…         make what is missing of the certificates, and give each container its own
# dkv-certs renew NAME…   the same, with new pairs for these (nodes, or admin)
#
# /authority holds all there is, the authority's key too, and no other container has it. /certs/NAME
# is the volume of one node, or of those who administer: a node that is broken into gives away the
# keys of that node.
set -eu
umask 077
owner=10001:10001
days=${DKV_CERT_DAYS:-365}
cd /authority

if [ "${1:-}" = renew ]; then
    shift
    for name; do
        [ -e "$name.cert" ] || { echo "there is no $name.cert to renew" >&2; exit 1; }
        mkdir -p "old/$(date +%s)"
        mv "$name.cert" "$name.key" "old/$(date +%s)/"
    done
    set -- $(cat nodes)
fi
[ $# -gt 0 ] || { echo "say which nodes: dkv-certs n1 n2 n3" >&2; exit 2; }
echo "$@" >nodes

[ -e trust ] || dkvctl certs init --dir .
[ -e server.cert ] || dkvctl certs server --dir . --days "$days"
for node; do
    [ -e "$node.cert" ] || dkvctl certs node "$node" --dir . --days "$days"
done
[ -e admin.cert ] || dkvctl certs client admin --role admin --dir . --days "$days"

give() { # TO FILE…, each in one step, so that nobody reads half a file
    to=/certs/$1
    shift
    for file; do
        cmp -s "$file" "$to/$file" && continue
        cp "$file" "$to/.new"
        chown "$owner" "$to/.new"
        mv "$to/.new" "$to/$file"
    done
    chown "$owner" "$to"
}

members=$(for node; do echo "$node.cert"; done)
for node; do
    give "$node" trust server.cert server.key $members "$node.key"
done
give admin trust admin.cert admin.key
