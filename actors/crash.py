"""What an actor leaves behind when it raises: its last batch, as a test to paste.

Owns: that file. It has mode 0600, because it holds keys and values; lines for people never do.
Must never know which actor it is.
"""

import os
import time
import traceback
from pathlib import Path
from typing import Any

_TEXT = '''"""{node}: the {actor} actor failed on {when}.

{trace}
The letters hold what clients wrote: look before you pass this on. Build the actor on a copy of the
data directory, then hand it this batch.
"""

from dkv.entries import *  # noqa: F403
from dkv.messages import *  # noqa: F403

BATCH = [
{letters}]


def test_the_{actor}_takes_this_batch(open_{actor}):
    open_{actor}("{folder}").handle(BATCH, now=None)
'''


def write_crash(
    folder: Path, node: str, actor: str, batch: list[Any], error: BaseException
) -> Path | None:
    """The file, or None where not even that could be written."""
    when = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    path = folder / f"crash-{actor}-{when}.py"
    text = _TEXT.format(
        node=node,
        actor=actor,
        when=when,
        trace="".join(traceback.format_exception(error)),
        letters="".join(f"    {letter!r},\n" for letter in batch),
        folder=folder,
    )
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w", encoding="utf-8") as stream:
            stream.write(text)
    except OSError:
        return None
    return path
