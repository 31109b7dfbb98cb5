"""found.json: the seed that found each mutant. Owns: that file."""

import json
from pathlib import Path

PATH = Path(__file__).parent / "found.json"


def read_found() -> dict[str, int]:
    return dict(json.loads(PATH.read_text())) if PATH.exists() else {}


def write_found(found: dict[str, int]) -> None:
    PATH.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
