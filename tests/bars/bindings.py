"""Puts a second of each binding beside the Python library's, with 64 outstanding: a measurement.

    python -m tests.bars.bindings

Values of 64 bytes, one client, Curve and fsync. Each program has a secured three-node cluster of
its own for some seconds, one after the other; what was not built (`make bindings`) is named and
left out. Must never decide whether a figure is good.
"""

import re
import subprocess
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_BINDINGS = _ROOT / "bindings"
_PYTHON = (
    f'{_ROOT}/.venv/bin/dkvctl --endpoint "${{DKV_ENDPOINTS%%,*}}" --cacert "$DKV_TRUST"'
    ' --cert "$DKV_CERTIFICATE" --key "$DKV_KEY"'
    " bench put --outstanding 64 --value-size 64 --seconds 4 --pipeline 64"
)
_OPTIONS = "--outstanding 64 --bytes 64 --seconds 4"
_PROGRAMS = {
    "cpp": f"{_ROOT}/build/cpp/dkv-bench",
    "ruby": f"{_BINDINGS}/ruby/programs/bench.rb",
    "rust": f"{_BINDINGS}/rust/target/release/examples/dkv-bench",
}
_RATE = re.compile(r"([\d,]+) (?:puts/s|a second)")


def measure(command: str) -> float:
    """Puts a second of a program beside a cluster of its own. Raises RuntimeError if it fails."""
    words = ["sh", str(_BINDINGS / "with_cluster.sh"), "sh", "-c", command]
    run = subprocess.run(words, capture_output=True, text=True, check=False)
    rate = _RATE.search(run.stdout)
    if run.returncode or rate is None:
        raise RuntimeError(run.stdout + run.stderr)
    return float(rate[1].replace(",", ""))


def main() -> None:
    python = measure(_PYTHON)
    print(f"{'python':8}{python:8,.0f} puts/s")
    for name, program in _PROGRAMS.items():
        if not Path(program).exists():
            print(f"{name:8} is not built: make bindings NAMES={name}")
            continue
        runner = "ruby " if program.endswith(".rb") else ""
        rate = measure(f"{runner}{program} {_OPTIONS}")
        print(f"{name:8}{rate:8,.0f} puts/s, {rate / python:.2f} of Python's")


if __name__ == "__main__":
    main()
