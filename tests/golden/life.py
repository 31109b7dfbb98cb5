"""A node's life, told to the end: its directory, a backup, and what it had answered.

Owns: what is written, and what is said of a directory without starting it. Must never know which
version it runs in, nor what a later one makes of the files.
"""

import subprocess
import sys
import tarfile
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import msgpack

from actors import recovery
from actors.directory import DataDirectory
from dkv.client import Client
from dkv.requests import PROTOCOL, pack_command
from tests.real.cluster import PATIENCE_S, Cluster
from tests.real.strangers import Dealer

FILES = ("log.db", "state.db", "witness")
EARLIER = 11  # the revision compacted to: the first that can still be read
RETRIED = {"key": b"in a session", "value": b"once"}


def live(folder: Path, backup: Path, directory: Path) -> dict[str, Any]:
    """`backup` and `directory` (a .tar.gz) are written; what must be found again is returned."""
    with Cluster(folder, size=1, secure=False) as cluster:
        cluster.start()
        cluster.wait_serving()
        with cluster.client() as kv:
            _write(kv)
        session = _open_session(cluster)
        with cluster.client() as kv:
            facts = {**told(kv), "earlier": earlier(kv), "session": session}
        ctl(*flags(cluster), "snapshot", "save", str(backup))
        assert cluster.stop() == {"n1": 0}
    facts["directory"] = read(cluster.data_dir("n1"))
    pack(cluster.data_dir("n1"), directory)
    return facts


def _write(kv: Client) -> None:
    for number in range(8):
        kv.put(b"key/%d" % number, b"value %d" % number)
    kv.put(b"key/1", b"newer")
    kv.put(b"gone", b"soon")
    kv.delete(b"gone")
    kv.put(b"key/2", b"newer")
    kv.compact(EARLIER)
    kv.put(b"key/3", b"after the compaction")
    kv.put(b"large", b"x" * 5_000)


def _open_session(cluster: Cluster) -> dict[str, Any]:
    """One that is still open when the node stops, with an answer that it remembers."""
    with Dealer(cluster.clients["n1"]) as dealer:
        number = ask(dealer, "open_session", {})["result"]["session"]
        place = {"session": number, "sequence": 1, "lowest": 1}
        answer = ask(dealer, "put", place, **RETRIED)
    return {"place": place, "answer": answer}


def ask(dealer: Dealer, op: str, header: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """By hand: the library chooses session and sequence itself."""
    body = {"command": pack_command(op, **fields), **header}
    dealer.socket.send_multipart((PROTOCOL, b"1", msgpack.packb(body)))
    assert dealer.socket.poll(int(PATIENCE_S * 1_000)), "no reply"
    reply: dict[str, Any] = msgpack.unpackb(dealer.socket.recv_multipart()[-1])
    return reply


# -- what a node says ------------------------------------------------------------------------------
def told(kv: Client) -> dict[str, Any]:
    return {
        "revision": kv.page(b"").revision,
        "hash": kv.state_hash()["hash"],
        "keys": _items(kv.list(b"")),
        "read": _items([kv.get(b"key/1")]),  # with its author and time
    }


def earlier(kv: Client) -> list[dict[str, Any]]:
    return _items(kv.list(b"", revision=EARLIER))


def _items(found: Any) -> list[dict[str, Any]]:
    return [{k: _text(v) for k, v in item._asdict().items()} for item in found]


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


# -- what a directory says -------------------------------------------------------------------------
def read(folder: Path) -> dict[str, Any]:
    """By the rules of a start, on a copy: even to open a database may change it."""
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place)
        for name in FILES:
            (copy / name).write_bytes((folder / name).read_bytes())
        with closing(DataDirectory(copy)) as directory, closing(directory.witness()) as witness:
            journal = directory.journal()
            hard = journal.hard()
            assert hard is not None
            meta = directory.table(hard.disk).meta()
            found = recovery.examine(journal, witness, meta)
    now = found.start.reigns[-1]
    return {
        "name": hard.name,
        "disk": hard.disk,
        "term": hard.term,
        "last": [found.last.index, found.last.term, found.last.check.hex()],
        "cluster": found.founding.cluster_id().hex(),
        "limits": found.limits._asdict(),
        "members": [list(member) for member in now.members],
        "voters": list(now.voters),
        "formed": [now.formed_index, now.formed.hex(), now.opened_index],
        "applied": [meta.applied, meta.revision, meta.compacted, f"{meta.written:016x}"],
        "sessions": meta.sessions,
    }


def pack(folder: Path, file: Path) -> None:
    assert not list(folder.glob("*-wal")), "it was not stopped in order"
    with tarfile.open(file, "w:gz") as tar:
        for name in FILES:
            member = tarfile.TarInfo(name)  # without whose it was, and when
            member.size = (folder / name).stat().st_size
            with (folder / name).open("rb") as content:
                tar.addfile(member, content)


def unpack(file: Path, folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True)
    with tarfile.open(file) as tar:
        for name in FILES:
            content = tar.extractfile(name)
            assert content is not None
            (folder / name).write_bytes(content.read())
    return folder


# -- the command line ------------------------------------------------------------------------------
def flags(cluster: Cluster) -> tuple[str, ...]:
    return (f"--endpoint={','.join(cluster.endpoints())}", "--insecure")


def ctl(*words: str) -> str:
    command = [sys.executable, "-m", "cli.ctl", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
