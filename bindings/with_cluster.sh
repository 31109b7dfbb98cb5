#!/bin/sh
# Runs a command against a secured three-node cluster of its own, which ends with it.
#
#   with_cluster.sh [--kill] CMD ARG...
#
# CMD finds in its environment DKV_ENDPOINTS, DKV_TRUST, DKV_CERTIFICATE and DKV_KEY. With --kill
# each node is killed (kill -9) in turn, 2 s apart, while CMD runs, so that one of them was the
# leader; its supervisor starts it again. Exits as CMD does; with 77, and a line that says why,
# where there is no dkv to be tried against. DKV_TEST_PORT: the first of the ports, if the drawn
# ones do not suit.
set -eu
kill_nodes=no
if [ "$1" = --kill ]; then kill_nodes=yes; shift; fi

here=$(cd "$(dirname "$0")" && pwd)
dkv=$here/../.venv/bin/dkv
[ -x "$dkv" ] || dkv=$(command -v dkv || true)
if [ -z "$dkv" ]; then
  echo "skipped: there is no dkv to be tried against. Run make run once, or install it." >&2
  exit 77
fi

port=${DKV_TEST_PORT:-$((20000 + $$ % 5000 * 2))}
dir=$(mktemp -d)
cluster=
end() {
  [ -z "$cluster" ] || { kill "$cluster" 2>/dev/null && wait "$cluster" || true; }
  rm -rf "$dir"
}
trap end EXIT
trap 'exit 130' INT TERM

HOME=$dir "$dkv" local --dir "$dir/cluster" --client-port "$port" --peer-port $((port + 10)) \
  >"$dir/log" 2>&1 &
cluster=$!
tries=0
until grep -q 'The cluster is up' "$dir/log"; do
  tries=$((tries + 1))
  if [ $tries -gt 300 ] || ! kill -0 "$cluster" 2>/dev/null; then
    echo "the cluster did not come up:" >&2
    cat "$dir/log" >&2
    exit 1
  fi
  sleep 0.1
done
pids=$(sed -n 's/^  n[1-3] .* pid \([0-9]*\)$/\1/p' "$dir/log")

export DKV_ENDPOINTS="127.0.0.1:$port,127.0.0.1:$((port + 1)),127.0.0.1:$((port + 2))"
export DKV_TRUST="$dir/cluster/certs/trust"
export DKV_CERTIFICATE="$dir/cluster/certs/admin.cert"
export DKV_KEY="$dir/cluster/certs/admin.key"
if [ $kill_nodes = no ]; then
  "$@"
  exit
fi
"$@" &
command=$!
for pid in $pids; do
  sleep 2
  kill -9 "$pid"
done
wait "$command"
