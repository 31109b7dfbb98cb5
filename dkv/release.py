"""Which dkv this is: the version for people, and the level of what it can understand.

Owns: this code's level. Must never know which level a cluster is at: its configuration says so
(`dkv.raft.configuration`), and its leader raises it (`dkv.raft.members`).

    level   what came with it: kinds of entries, commands, formats that older nodes cannot read
    1       0.1.0

Whatever the nodes of the level before cannot read or would apply otherwise is used only where the
configuration's level says that all can. A letter that merely grows at its end needs no level.
"""

from typing import NamedTuple

from dkv import __version__

FIRST_LEVEL = 1  # of whoever says nothing of it


class Release(NamedTuple):
    level: int
    version: str


THIS = Release(1, __version__)
