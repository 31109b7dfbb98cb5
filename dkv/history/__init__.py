"""Recorded histories, and whether one register a key could have answered so (docs/correctness.md).

    operation  what was asked and answered, when; a line of a file
    model      what an operation does to one key
    search     is there an order? (Wing and Gong, Lowe)
    revisions  what the store-wide counter must obey across keys
    window     the shortest part of a history that cannot be
    checking   all of it together: a history in, a verdict out

Nothing here waits, reads a file or knows a cluster.
"""

from dkv.history.checking import Report, check
from dkv.history.operation import Operation, read_history, write_line
from dkv.history.search import Verdict

__all__ = ["Operation", "Report", "Verdict", "check", "read_history", "write_line"]
