"""A data directory made from a backup: the beginning of another cluster.

Owns: what such a directory holds. Must never know flags, or how a backup is stored.

The new cluster has an id of its own (its founding is salted), so that no member of the old one ever
talks to it, and forms like any other: all of its members must vote once. Its log begins behind the
entry that the backup is of, with the state as of there. What stands for that entry is the check of
the first one, which covers salt and hash of the backup: directories of different backups, or of
different salts, refuse each other.

Sessions do not come over: a client that goes on hears `session_lost`. What they had answered behind
the backup is gone, so nobody could say what a retry has done already. The numbers of sessions begin
where the old cluster, or another one restored from the same file, has not been: else a session of
theirs could be taken for one of these.
"""

from collections.abc import Iterable
from pathlib import Path
from random import Random

from actors.database import fault_of
from actors.directory import DataDirectory
from actors.journal import FORMAT
from actors.keeping import Hard, Journal, Testimony, Witness
from actors.table import SqliteTable
from dkv.entries import Position, genesis
from dkv.errors import Misconfigured
from dkv.ids import Founding, draw_id
from dkv.kv.backup import Contents
from dkv.kv.store import Meta, Store
from dkv.kv.version import read_rows
from dkv.limits import STATE_COMMIT_BYTES


def restore(
    folder: Path,
    name: str,
    founding: Founding,
    contents: Contents,
    parts: Iterable[list[bytes]],
    rng: Random,
) -> None:
    """Make the data directory `folder` of member `name`. Raises `Misconfigured` where there is
    something in it, `Fault` where it cannot be written."""
    if folder.exists() and any(folder.iterdir()):
        raise Misconfigured(
            f"{folder} is not empty: a backup is restored into a directory of its own, never over "
            "another. Give a new --data-dir, or move what is there away"
        )
    directory = DataDirectory(folder)
    try:
        disk = draw_id(rng)
        table, witness, journal = directory.table(disk), directory.witness(), directory.journal()
        try:
            fill(table, founding, contents, parts)
            begin_log(journal, witness, name, disk, founding, contents)
        finally:
            table.close()
            journal.close()
            witness.close()
    except SqliteTable.errors as error:
        raise fault_of(folder, error) from error
    finally:
        directory.close()


def base_of(founding: Founding, contents: Contents) -> Position:
    """Where the log of the new cluster begins: the same on all of its members."""
    origin = contents.origin
    first = genesis(founding, origin.limits, contents.digest)
    return Position(origin.index, origin.term, first.check)


def fill(
    store: Store, founding: Founding, contents: Contents, parts: Iterable[list[bytes]]
) -> None:
    """The state. Without a log nobody starts on it, so it may be committed in steps."""
    blank, known, size = store.meta(), set[bytes](), 0
    for packed in parts:
        for version, (row, key, *_fields) in zip(packed, read_rows(packed), strict=True):
            store.add(row, version, None if key in known else key)
            known.add(key)
            size += len(version)
        if size >= STATE_COMMIT_BYTES:
            size = 0
            store.commit(blank, (), ())
            store.tidy(idle=False)
    store.commit(_meta(blank.disk, founding, contents), (), ())


def _meta(disk: int, founding: Founding, contents: Contents) -> Meta:
    origin, base = contents.origin, base_of(founding, contents)
    return Meta(
        disk=disk,
        applied=base.index,
        term=base.term,
        check=base.check,
        revision=origin.revision,
        compacted=origin.compacted,
        held=origin.held,
        written=origin.written,
        sessions=first_session(founding),
    )


def first_session(founding: Founding) -> int:
    """The numbers of sessions begin behind this one: anywhere in 62 bits, by the cluster's id."""
    return int.from_bytes(founding.cluster_id()[:8]) >> 2


def begin_log(
    journal: Journal,
    witness: Witness,
    name: str,
    disk: int,
    founding: Founding,
    contents: Contents,
) -> None:
    """An empty log behind the base, and a witness who has seen the base. This makes it a data
    directory, so it comes last."""
    base = base_of(founding, contents)
    first = genesis(founding, contents.origin.limits, contents.digest)
    witness.write(Testimony(*base, base.term, 0))
    hard = Hard(
        *(FORMAT, name, disk, False, first.payload, first.check),
        term=base.term,
        base=base,
        base_tick=contents.tick,
    )
    journal.create(hard, ())
