#!/bin/sh
# Runs a command against a secured three-node cluster of its own, which ends with it.
#
#   with_cluster.sh [--kill] CMD ARG...
#
# CMD finds in its environment DKV_ENDPOINTS, DKV_TRUST, DKV_CERTIFICATE and DKV_KEY. With --kill
# each node is killed (kill -9) in turn, 2 s apart, while CMD runs, so that one of them was the
# leader; its supervisor starts it again. Exits as CMD does; with 77, and a line that says why,
# where there is no dkv to be tried against; with 1, and the cluster's log, where that did not come
# up or ended before CMD did.
#
# Many may run at once: a run's folder is named after its ports, so that no other run takes them, not
# even while a node is down. DKV_TEST_PORT: where the search for free ones begins.
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

port_taken=11 # the exit code of dkv
ports=16      # of a run: clients' from the first on, peers' from the ninth
runs_max=700  # all below 32768, from where on systems draw ports for connections
first=$((${DKV_TEST_PORT:-20000} / ports * ports))
run=${DKV_TEST_PORT:+-1}
run=${run:-$$}
dir=
cluster=
command=

end() {
  for process in $command $cluster; do
    kill "$process" 2>/dev/null && wait "$process" || true
  done
  [ -z "$dir" ] || rm -rf "$dir"
}
trap end EXIT
trap 'exit 130' INT TERM

# fail WORDS: ends with them and what the cluster has said.
fail() {
  echo "$1:" >&2
  cat "$dir/log" >&2
  exit 1
}

# claim: takes the next ports that no other run has, and their folder.
claim() {
  [ -z "$dir" ] || rm -rf "$dir"
  dir=
  tries=0
  while :; do
    run=$((run + 1))
    port=$((first + run % runs_max * ports))
    mkdir -m 700 "/tmp/dkv-cluster-$port" 2>/dev/null && break
    tries=$((tries + 1))
    [ $tries -lt $runs_max ] || { echo "no ports are free: see /tmp/dkv-cluster-*" >&2; exit 1; }
  done
  dir=/tmp/dkv-cluster-$port
}

# start: the cluster, until it is up.
start() {
  HOME=$dir "$dkv" local --dir "$dir/cluster" --client-port "$port" --peer-port $((port + 8)) \
    >"$dir/log" 2>&1 &
  cluster=$!
  tries=0
  until grep -qs 'The cluster is up' "$dir/log"; do
    if ! kill -0 "$cluster" 2>/dev/null; then
      gone=$cluster
      cluster=
      wait "$gone" || return $?
      return 1
    fi
    tries=$((tries + 1))
    [ $tries -lt 300 ] || return 1
    sleep 0.1
  done
}

code=$port_taken
for _ in 1 2 3 4 5; do
  claim
  if start; then code=0; else code=$?; fi
  [ $code = $port_taken ] || break # by somebody else's program: the next ones
done
[ $code = 0 ] || fail "the cluster did not come up"
pids=$(sed -n 's/^  n[1-3] .* pid \([0-9]*\)$/\1/p' "$dir/log")

export DKV_ENDPOINTS="127.0.0.1:$port,127.0.0.1:$((port + 1)),127.0.0.1:$((port + 2))"
export DKV_TRUST="$dir/cluster/certs/trust"
export DKV_CERTIFICATE="$dir/cluster/certs/admin.cert"
export DKV_KEY="$dir/cluster/certs/admin.key"
name=$1
exec 3<&0 # for a command in the background stdin is /dev/null
"$@" <&3 3<&- &
command=$!
if [ $kill_nodes = yes ]; then set -- $pids; else set --; fi
turns=0
while kill -0 "$command" 2>/dev/null; do
  kill -0 "$cluster" 2>/dev/null || fail "the cluster ended before $name did"
  sleep 0.2
  turns=$((turns + 1))
  if [ $# != 0 ] && [ $((turns % 10)) = 0 ]; then
    kill -9 "$1" 2>/dev/null || fail "the node with pid $1 has died by itself"
    shift
  fi
done
gone=$command
command=
wait "$gone"
