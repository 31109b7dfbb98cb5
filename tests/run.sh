#!/bin/sh
# Run the suites one after the other, each with its time. `long` runs more of each.
set -u
cd "$(dirname "$0")/.."
python=.venv/bin/python
status=0 total=0

if [ "${1:-}" = long ]; then
    export DKV_LONG=1 DKV_SEEDS="${DKV_SEEDS:-200}" DKV_IMAGES="${DKV_IMAGES:-20000}"
    export DKV_SIM_SEEDS="${DKV_SIM_SEEDS:-2000}"
fi
suites="unit scenarios scripts sim mutants contract corruption crash golden conformance real chaos"
[ -z "${DKV_LONG:-}" ] || suites="$suites bindings" # builds are long
for suite in $suites; do
    began=$(date +%s)
    echo "== $suite"
    case "$suite" in
        unit | scenarios | mutants | crash) workers=auto ;; # small tests, none minds another
        conformance | real) workers=2 ;;                    # they wait more than they work
        *) workers=0 ;;                                     # on all cores by themselves, or timed
    esac
    "$python" -m pytest "tests/$suite" -n "$workers" -rs --durations 5 || status=1
    if [ "$suite" = sim ]; then
        "$python" -m tests.sim --seeds "${DKV_SIM_SEEDS:-40}" || status=1
    fi
    took=$(($(date +%s) - began))
    total=$((total + took))
    echo "== $suite took $took s"
done
echo "== all suites: $total s, $([ "$status" = 0 ] && echo passed || echo FAILED)"
exit "$status"
