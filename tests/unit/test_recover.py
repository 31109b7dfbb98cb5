"""Of the directories that are left: which reaches furthest, what another loses, what is made."""

import fcntl
import hashlib
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner, Result

from actors import keeping, recovery
from actors.directory import DataDirectory
from actors.journal import FORMAT
from actors.keeping import Hard
from actors.surviving import Loss, forwarded, furthest, loss
from cli.inspection import copy_of
from cli.recover import recover, words_of
from cli.restore import restore
from dkv.entries import Batch, Entry, Kind, follow, genesis, pack_batch
from dkv.errors import Ending, Fault, Misconfigured
from dkv.ids import Founding
from dkv.kv.backup import examine
from dkv.kv.state import Command, State, pack_command_of
from dkv.limits import ClusterLimits
from dkv.requests import pack_command
from tests.unit.test_restoring import reader

LIMITS = ClusterLimits()
FOUNDING = Founding(b"", "token", ("n1", "n2", "n3"))


class Log(NamedTuple):
    """A put of each term, one an entry; the last entry known committed, and the applied one. A 0
    deletes the first key, in the term before it."""

    terms: tuple[int, ...]
    committed: int
    applied: int
    token: str = "token"

    def entries(self) -> list[Entry]:
        found = [genesis(FOUNDING._replace(token=self.token), LIMITS)]
        for number, term in enumerate(self.terms, 2):
            if term:
                command = pack_command("put", key=b"k%d" % number, value=b"%d" % term)
            else:
                command = pack_command("delete", key=b"k2", expected=None)
            payload = pack_batch(
                Batch("n1", 1, 1, (pack_command_of(Command("", 0, 0, 0, 0, command)),))
            )
            row = (number, term or found[-1].term, Kind.COMMANDS, number, 1_000 + number, payload)
            found.append(follow(found[-1].check, row))
        return found


SHORT = Log((1, 1, 1), committed=3, applied=3)
LONG = Log((1, 1, 1, 2, 0), committed=3, applied=2)
STALE = Log((1, 1, 1, 1, 1, 1, 1), committed=4, applied=4)  # longer, of an earlier term


def make(folder: Path, log: Log) -> Path:
    directory = DataDirectory(folder)
    journal, witness, table = directory.journal(), directory.witness(), directory.table(7)
    entries = log.entries()
    first = entries[0]
    hard = Hard(FORMAT, folder.name, 7, False, first.payload, first.check, term=9)
    recovery.create(journal, witness, hard, first)
    journal.replace(0, entries[1:])
    journal.commit()
    seen = entries[log.committed - 1]
    witness.write(keeping.Testimony(seen.index, seen.term, seen.check, 9, 0))
    state = State(table, LIMITS)
    for entry in entries[: log.applied]:
        state.apply(entry)
    state.commit()
    for each in (journal, witness, table, directory):
        each.close()
    return folder


def run(*words: object) -> Result:
    return CliRunner().invoke(recover, [str(word) for word in words])


def content(folder: Path) -> dict[str, bytes]:
    return {p.name: hashlib.sha256(p.read_bytes()).digest() for p in folder.iterdir()}


def lost(folder: Path, chosen: Log, best: Log) -> Loss:
    survivors = []
    for name, log in (("a", chosen), ("b", best)):
        with copy_of(make(folder / name, log)) as copy, forwarded(copy) as (survivor, _state):
            survivors.append(survivor)
    assert furthest(survivors) == 1
    return loss(*survivors)


def test_the_longest_log_of_the_last_term_is_the_furthest(tmp_path: Path) -> None:
    assert lost(tmp_path / "1", SHORT, LONG) == Loss(4, 2, 2, 0)
    assert lost(tmp_path / "2", STALE, LONG) == Loss(4, 2, 2, 4)
    assert lost(tmp_path / "3", SHORT, STALE) == Loss(4, 4, 4, 0)


def test_a_log_that_was_cut_beyond_another_s_end_is_compared_by_what_was_committed(
    tmp_path: Path,
) -> None:
    with copy_of(make(tmp_path / "a", SHORT)) as copy, forwarded(copy) as (short, _state):
        pass
    with copy_of(make(tmp_path / "b", LONG)) as copy, forwarded(copy) as (long, _state):
        pass
    cut = long._replace(checks={6: long.checks[6]})
    assert loss(short, cut) == Loss(3, 3, 3, 1)


def test_words_say_what_is_lost() -> None:
    assert words_of(Loss(4, 0, 0, 0)) == "nothing that another one here holds"
    assert words_of(Loss(4, 2, 1, 0)) == "2 entries behind 4, 1 revision"
    assert "3 of its own entries" in words_of(Loss(4, 2, 1, 3))


def test_directories_are_compared_and_left_as_they_are(tmp_path: Path) -> None:
    a, b = make(tmp_path / "a", SHORT), make(tmp_path / "b", LONG)
    before = content(a), content(b)
    result = run(a, b)
    assert result.exit_code == 0, result.output
    said = [" ".join(line.split()) for line in result.output.splitlines()]
    assert f"The furthest: {b}" in said
    assert "last entry index 6, term 2" in said
    assert "witness knows entry 3 committed" in said
    assert "not known committed 3 entries at the end" in said
    assert "would lose 2 entries behind 4, 2 revisions" in said
    assert "would lose nothing that another one here holds" in said
    assert (content(a), content(b)) == before


def test_the_backup_has_every_entry_of_the_log(tmp_path: Path) -> None:
    a, b, file = make(tmp_path / "a", SHORT), make(tmp_path / "b", LONG), tmp_path / "f"
    result = run(a, b, "--save", file)
    assert result.exit_code == 0, result.output
    assert "Kept too: 3 entries at its end, never known there to be committed" in result.output
    found = examine(reader(file.read_bytes()))
    assert (found.origin.index, found.origin.term) == (6, 2)
    assert (found.origin.revision, found.keys) == (5, 3)
    assert found.origin.cluster == FOUNDING.cluster_id()
    assert isinstance(run(a, b, "--save", file).exception, Misconfigured)
    chosen = run(a, b, "--from", a, "--save", tmp_path / "g")
    assert chosen.exit_code == 0, chosen.output
    assert examine(reader((tmp_path / "g").read_bytes())).keys == 3


def test_what_is_made_is_of_another_cluster_and_its_members_of_one(tmp_path: Path) -> None:
    b, file = make(tmp_path / "b", LONG), tmp_path / "f"
    (tmp_path / "n1").mkdir()
    told = ("--initial-cluster", "n1=h:1,n2=h:2", "--initial-cluster-token", "token", "--insecure")
    result = run(b, "--save", file, "--make", tmp_path / "n1", "--name", "n1", *told)
    assert result.exit_code == 0, result.output
    salt = result.output.split("--salt ")[1].split()[0]
    assert f"For n2: dkv restore {file} with --salt {salt}" in result.output
    words = [file, "--name", "n2", "--data-dir", tmp_path / "n2", "--salt", salt, *told]
    second = CliRunner().invoke(restore, [str(word) for word in words])
    assert second.exit_code == 0, second.output
    bases, clusters = set(), set()
    for name in ("n1", "n2"):
        with copy_of(tmp_path / name) as copy, forwarded(copy) as (survivor, state):
            bases.add(survivor.last)
            clusters.add(survivor.cluster)
            assert (survivor.keys, state.applied, survivor.hard.base.index) == (3, 6, 6)
    assert len(bases) == len(clusters) == 1
    assert clusters != {FOUNDING.cluster_id()}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--make", "x"], "--make needs --name and --initial-cluster"),
        (["--make", "x", "--name", "n1", "--initial-cluster", "n1=h:1"], "one of them"),
        (
            ["--make", "x", "--name", "n1", "--initial-cluster", "n1=h:1,n2=h:2", "--insecure"],
            "give --save FILE too",
        ),
        (["--from", "elsewhere"], "it must be one of the directories given"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(make(tmp_path / "a", SHORT), *more)
    assert isinstance(result.exception, Misconfigured)
    assert words in str(result.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_directories_of_two_clusters_are_not_compared(tmp_path: Path) -> None:
    result = run(make(tmp_path / "a", SHORT), make(tmp_path / "b", SHORT._replace(token="another")))
    assert "of different clusters" in str(result.exception)


def test_a_directory_in_use_is_refused(tmp_path: Path) -> None:
    a = make(tmp_path / "a", SHORT)
    with (a / "lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = run(make(tmp_path / "b", LONG), a)
    assert isinstance(result.exception, Fault)
    assert result.exception.ending is Ending.LOCKED
    assert str(a) in str(result.exception)


@pytest.mark.parametrize("name", ["log.db", "state.db", "witness"])
def test_a_damaged_directory_is_named_and_never_chosen(tmp_path: Path, name: str) -> None:
    """Nor is another, unless by whoever was told: it may have been the furthest."""
    a, b, file = make(tmp_path / "a", SHORT), make(tmp_path / "b", LONG), tmp_path / "f"
    found = bytearray((b / name).read_bytes())
    found[:] = bytes(len(found)) if name == "witness" else found.replace(b"k2", b"k0")
    (b / name).write_bytes(found)
    assert f"The furthest: {a}" in run(a, b).output
    for more in ([], ["--from", b]):
        result = run(a, b, *more, "--save", file)
        assert isinstance(result.exception, Fault), result.output
        assert f"{b} cannot be used" in str(result.exception)
        assert not file.exists()
    assert isinstance(run(b).exception, Fault)
    result = run(a, b, "--from", a, "--save", file)
    assert result.exit_code == 0, result.output
    assert examine(reader(file.read_bytes())).keys == 3


def test_a_newcomer_that_had_received_nothing_is_no_beginning(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path / "a")
    journal, witness, table = directory.journal(), directory.witness(), directory.table(7)
    first = genesis(FOUNDING, LIMITS)
    witness.write(recovery.NOTHING)
    journal.create(Hard(FORMAT, "n4", 7, True, first.payload, first.check), ())
    for each in (journal, witness, table, directory):
        each.close()
    b = make(tmp_path / "b", SHORT)
    assert f"The furthest: {b}" in run(tmp_path / "a", b).output
    result = run(tmp_path / "a", "--save", tmp_path / "f")
    assert "received nothing yet" in str(result.exception)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
