"""Where a measurement's data lies, and that nothing of it is left, however it ends.

Owns: the scratch folder, what Ctrl-C and SIGTERM do. Must never know what is measured.
"""

import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.bench import machine

_INTERRUPTED = 128 + signal.SIGINT


def scratch(stack: ExitStack) -> Path:
    """A folder on a disk, removed when the stack closes. Unfit: there is only memory."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dkv-bench-")))
    machine.check_disk(folder)
    return folder


def run(main: Callable[[], None]) -> None:
    """Both signals end it through all its stacks, which end the nodes and remove the folder."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(_INTERRUPTED)
