"""`python -m tests.golden v2`: keep the files of today's version, beside those of earlier ones.

Owns: where they lie, and that none is ever made anew.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.golden import letters, life

HERE = Path(__file__).parent


def main(version: str) -> None:
    folder = HERE / version
    folder.mkdir()  # FileExistsError: golden files are never changed
    with tempfile.TemporaryDirectory() as place:
        facts = life.live(Path(place), folder / "backup.dkv", folder / "directory.tar.gz")
    facts["backup"] = json.loads(
        life.ctl("snapshot", "inspect", str(folder / "backup.dkv"), "-o", "json")
    )
    _write(folder / "facts.json", facts)
    _write(folder / "letters.json", letters.records())


def _write(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False, default=bytes.decode) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.golden VERSION, a folder that does not exist yet, as v2")
    main(sys.argv[1])
