#!/bin/sh
# Builds and tests every binding whose toolchain is here, and names the others.
#
#   run.sh [NAME...]
#
# A binding is tested by its own tests, by the conformance kit (all rules), and against a secured
# three-node cluster whose nodes are killed while it counts; the counter, against a played cluster.
# Goes on after a failure; exits with 1 if there was one.
set -u
cd "$(dirname "$0")" || exit 1
kit=$PWD/../.venv/bin/dkvctl
build=$PWD/../build
failed=

# kept NAME DRIVER...: the kit finds no rule broken.
kept() {
  "$kit" conformance client -- "$@" >"$build/conformance.log" 2>&1 \
    && tail -1 "$build/conformance.log" && return
  cat "$build/conformance.log"
  return 1
}

# sound PROGRAM...: the counter takes no late step for a lost one, and sees one that is lost.
sound() {
  (cd .. && .venv/bin/python -m tests.bindings.counting "$@")
}

# exact PROGRAM...: its counters stay exact while each node is killed once.
exact() {
  sh with_cluster.sh --kill "$@" --seconds 9
}

try_cpp() {
  cmake -S cpp -B "$build/cpp" -DCMAKE_BUILD_TYPE=Release >/dev/null \
    && cmake --build "$build/cpp" >/dev/null \
    && ctest --test-dir "$build/cpp" --output-on-failure \
    && kept "$build/cpp/dkv-driver" \
    && sound "$build/cpp/dkv-counter"
}

try_ruby() {
  (cd ruby && rake test) \
    && kept ruby ruby/programs/driver.rb \
    && sound ruby "$PWD/ruby/programs/counter.rb"
}

try_rust() {
  (cd rust && cargo test --quiet && cargo build --quiet --release --examples) \
    && kept rust/target/release/examples/dkv-driver \
    && sound "$PWD/rust/target/release/examples/dkv-counter" \
    && exact rust/target/release/examples/dkv-counter
}

# binding NAME COMMAND MODULE: tries it, if the command and what it builds on are here.
binding() {
  if ! command -v "$2" >/dev/null || ! sh -c "$3" >/dev/null 2>&1; then
    echo "$1: skipped, its toolchain is not here (see bindings/$1/README.md)"
    return
  fi
  echo "$1:"
  "try_$1" || { echo "$1: FAILED"; failed="$failed $1"; }
}

mkdir -p "$build"
for name in ${*:-cpp ruby rust}; do
  case $name in
    cpp) binding cpp cmake 'pkg-config --exists libzmq libsodium' ;;
    ruby) binding ruby rake 'ruby -e "require %q(ffi-rzmq); require %q(msgpack)"' ;;
    rust) binding rust cargo 'pkg-config --exists libzmq' ;;
    *) echo "$name: there is no such binding"; failed="$failed $name" ;;
  esac
done
[ -z "$failed" ] || { echo "failed:$failed"; exit 1; }
