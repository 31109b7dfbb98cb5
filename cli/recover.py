"""`dkv recover`: from the directories that are left, when a majority is lost for good.

Owns: the flags, the comparison in words, which directory is chosen, and what is to be done next.
Must never change a byte in a directory it is given, nor choose between them where one is damaged.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import click

from actors.surviving import Loss, Survivor, forwarded, furthest, loss, save
from cli.inspection import copy_of
from cli.output import counted
from cli.restore import Told, cluster_options, draw_salt, make_member
from cli.snapshot import growing_file
from dkv.errors import Ending, Fault, Misconfigured

_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.argument("folders", metavar="DIR…", nargs=-1, required=True, type=_FOLDER)
@click.option("--from", "source", type=_FOLDER, help="Which DIR to take.  [default: the furthest]")
@click.option("--save", "file", type=_FILE, help="Write what it holds in this file, as a backup.")
@click.option("--make", "made", type=_FOLDER, help="Make this directory: of a new cluster's node.")
@cluster_options(required=False)
def recover(
    folders: tuple[Path, ...],
    source: Path | None,
    file: Path | None,
    made: Path | None,
    **told: Any,
) -> None:
    """Compare the data directories DIR of a cluster whose majority is lost for good.

    The nodes must not run; nothing is changed in their directories. Says what each holds, which one
    reaches furthest, and what another would lose. --save FILE writes one of them as a backup, with
    everything that its log holds; `dkv restore FILE` makes the nodes of a new cluster of it, or
    --make NEWDIR the first one at once (with --name, --initial-cluster and the others).
    """
    if made and not (told["name"] and told["initial_cluster"]):
        raise Misconfigured("--make needs --name and --initial-cluster, as the node will be told")
    founding = Told(**told).founding(draw_salt()) if made else None
    if founding and len(founding.names) > 1 and file is None:
        raise Misconfigured(
            "the other members are made from the same backup: give --save FILE too, or an "
            "--initial-cluster of one"
        )
    for path in (file, made):
        if path is not None and path.exists() and (path.is_file() or any(path.iterdir())):
            held = "exists" if path.is_file() else "is not empty"
            raise Misconfigured(f"{path} {held}: give another name, or move it away")
    chosen = _choose(folders, source, strict=bool(made or file))
    with tempfile.TemporaryDirectory(prefix="dkv-recover-") as room:
        backup = file or Path(room) / "backup.dkv"
        if made or file:
            _save(chosen, backup)
        if made and founding:
            click.echo()
            make_member(backup, made, told["name"], founding)
            others = ", ".join(name for name in founding.names if name != told["name"])
            if others:
                salt = founding.salt.hex()
                click.echo(f"\nFor {others}: dkv restore {file} with --salt {salt}")


def _save(folder: Path, file: Path) -> None:
    with copy_of(folder) as copy, growing_file(file) as growing, forwarded(copy) as (it, state):
        save(state, growing, time.time_ns() // 1_000_000)
    click.echo(f"\nTaken: {folder}, {counted(it.keys, 'key')}, revision {it.revision}.")
    if it.unsure:
        click.echo(
            f"Kept too: {counted(it.unsure, 'entry', 'entries')} at its end, never known there to "
            "be committed, which may have been acknowledged."
        )


# -- which one -----------------------------------------------------------------------------------
def _choose(folders: tuple[Path, ...], source: Path | None, *, strict: bool) -> Path:
    """Compare, say it, and choose; `strict`: something will be made of it."""
    if source is not None and source not in folders:
        raise Misconfigured(f"--from {source}: it must be one of the directories given")
    sound: dict[Path, Survivor] = {}
    unusable: dict[Path, Fault] = {}
    for folder in folders:
        try:
            with copy_of(folder) as copy, forwarded(copy) as (survivor, _state):
                sound[folder] = survivor
        except Fault as fault:
            if fault.ending is Ending.LOCKED:
                raise
            unusable[folder] = fault
    best = list(sound)[furthest(list(sound.values()))] if sound else None
    for folder in folders:
        click.echo(f"{folder}")
        if folder in sound and best is not None:
            _tell(sound[folder], loss(sound[folder], sound[best]))
        else:
            click.echo(f"  cannot be used: {unusable[folder]}")
    chosen = source or best
    if chosen is None or chosen in unusable:
        raise _refused(unusable, chosen or folders[0])
    click.echo(f"\nThe furthest: {best}")
    if strict and unusable and source is None:
        raise _refused(unusable, next(iter(unusable)))
    return chosen


def _refused(unusable: dict[Path, Fault], folder: Path) -> Fault:
    return Fault(
        unusable[folder].ending,
        f"{folder} cannot be used, and may be the one that held most: {unusable[folder]}. To go on "
        "without it, choose another one by --from DIR",
    )


def _tell(survivor: Survivor, lost: Loss) -> None:
    hard, last = survivor.hard, survivor.last
    facts = {
        "node": hard.name,
        "disk id": f"{hard.disk:016x}",
        "term": hard.term,
        "log base": hard.base.index,
        "last entry": f"index {last.index}, term {last.term}",
        "witness": f"knows entry {survivor.witnessed} committed",
        "applied": survivor.applied,
        "not known committed": f"{counted(survivor.unsure, 'entry', 'entries')} at the end",
        "revision": survivor.revision,
        "keys": survivor.keys,
        "would lose": words_of(lost),
    }
    width = max(map(len, facts))
    for name, value in facts.items():
        click.echo(f"  {name:<{width}}  {value}")


def words_of(lost: Loss) -> str:
    """Of choosing this one rather than the furthest."""
    if not lost.entries:
        return "nothing that another one here holds"
    words = (
        f"{counted(lost.entries, 'entry', 'entries')} behind {lost.shared}, "
        f"{counted(lost.revisions, 'revision')}"
    )
    if lost.strange:
        words += (
            f"; {lost.strange} of its own entries {'is' if lost.strange == 1 else 'are'} "
            "not known to the furthest"
        )
    return words
