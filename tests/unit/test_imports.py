"""The arrows of the architecture: who may import whom, read from the source.

cli ──▶ actors ──▶ dkv            dkv/raft knows nothing but letters and itself
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
OWN = ("cli", "actors", "dkv", "tests")
ACTORS = ("consensus", "log", "machine", "gateway")

# What the pure half may use of the standard library: nothing that waits, reads, or draws.
PURE = {
    *(
        "bisect",
        "collections",
        "dataclasses",
        "enum",
        "functools",
        "hashlib",
        "heapq",
        "itertools",
        "msgpack",
        "random",
        "re",
    ),
    *("struct", "types", "typing", "zlib"),
}

# module → the only files that may import it
ONLY_IN = {
    "zmq": (
        *("actors/mailbox.py", "actors/port.py", "actors/doorkeeper.py", "actors/transport.py"),
        *("actors/shell.py", "actors/node.py", "actors/doorprobe.py", "dkv/client/*.py"),
        *("dkv/load/connection.py", "dkv/load/generator.py", "dkv/conformance/stage.py"),
        "dkv/conformance/asking.py",
    ),
    "sqlite3": ("actors/database.py", "actors/journal.py", "actors/table.py", "actors/inspect.py"),
    "sqlitedict": ("actors/notebook.py",),
    "nacl": ("dkv/security/*.py",),
    "aiohttp": ("cli/dashboard/*.py",),
    "click": ("cli/*.py",),
    "rich": ("cli/*.py",),
    "time": (
        *("actors/shell.py", "actors/node.py", "actors/doorprobe.py", "actors/credentials.py"),
        *("actors/port.py", "actors/crash.py", "actors/journal.py", "actors/garbage.py"),
        *("actors/table.py", "actors/monitor.py"),
        "cli/*.py",
        *("dkv/client/engine.py", "dkv/client/recording.py"),
        *("dkv/load/connection.py", "dkv/load/generator.py"),
        *("dkv/conformance/*.py", "dkv/conformance/plays/*.py"),
    ),
    "datetime": ("dkv/security/words.py", "actors/announcer.py", "cli/*.py"),
    "signal": ("actors/shell.py", "actors/node.py", "cli/*.py"),
    "logging": ("actors/shell.py", "actors/node.py", "cli/*.py"),
    "asyncio": ("dkv/client/aio.py", "cli/*.py"),
    "threading": (
        *("actors/shell.py", "actors/node.py", "actors/doorkeeper.py", "actors/notebook.py"),
        "actors/monitor.py",
        *("dkv/client/blocking.py", "cli/*.py"),
    ),
    "secrets": ("dkv/security/*.py", "actors/node.py", "cli/*.py"),
    "socket": (
        *("actors/monitor.py", "dkv/load/*.py", "dkv/client/*.py", "cli/*.py"),
        *("dkv/conformance/stage.py", "dkv/conformance/plays/*.py"),
    ),
    "prometheus_client": ("actors/metrics.py",),
    "uuid": (),
    "pickle": (),
}


class Import(NamedTuple):
    file: str
    module: str
    names: tuple[str, ...]

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]


def _imports_of(path: Path) -> Iterator[Import]:
    file = path.relative_to(ROOT).as_posix()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, alias.name, ())
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are written in full"
            assert node.module
            names = tuple(alias.name for alias in node.names)
            yield Import(file, node.module, names)
            for name in names:  # `from dkv.raft import leader` is an import of dkv.raft.leader
                if (ROOT / node.module.replace(".", "/") / f"{name}.py").exists():
                    yield Import(file, f"{node.module}.{name}", ())


IMPORTS = [
    found
    for folder in ("dkv", "actors", "cli")
    for path in sorted((ROOT / folder).rglob("*.py"))
    for found in _imports_of(path)
]


def _in(folder: str, *but: str) -> list[Import]:
    inside = [i for i in IMPORTS if i.file.startswith(folder)]
    return [i for i in inside if not any(i.file.startswith(x) for x in but)]


def _own(imports: list[Import]) -> list[Import]:
    return [i for i in imports if i.top in OWN]


def test_the_scan_sees_the_source() -> None:
    assert {i.top for i in IMPORTS} >= {"dkv", "actors", "zmq", "sqlite3", "msgpack"}
    assert Import("actors/log.py", "dkv.raft.configuration", ()) in IMPORTS


def test_the_program_imports_the_actors_and_the_actors_the_core_never_back() -> None:
    assert [i for i in _own(_in("dkv/")) if i.top != "dkv"] == []
    assert [i for i in _own(_in("actors/")) if i.top not in ("actors", "dkv")] == []
    assert [i for i in _own(_in("cli/")) if i.top == "tests"] == []


def test_raft_knows_letters_and_itself() -> None:
    letters = (
        *("address", "counters", "entries", "errors", "ids", "limits", "messages"),
        *("release", "timeline"),
    )
    allowed = {f"dkv.{name}" for name in letters}
    strangers = [
        i
        for i in _own(_in("dkv/raft/"))
        if i.module not in allowed and not i.module.startswith("dkv.raft")
    ]
    assert strangers == []


def test_the_meaning_of_commands_does_not_know_raft() -> None:
    assert [i for i in _in("dkv/kv/") if i.module.startswith(("dkv.raft", "dkv.client"))] == []


def test_the_core_runs_on_paper() -> None:
    impure_on_purpose = (
        *("dkv/client/", "dkv/security/", "dkv/config.py", "dkv/history/", "dkv/conformance/"),
        *("dkv/load/connection.py", "dkv/load/generator.py"),
    )
    impure = [i for i in _in("dkv/", *impure_on_purpose) if i.top not in PURE and i.top != "dkv"]
    assert impure == []


def test_the_checker_of_histories_knows_nothing_of_the_store_that_it_judges() -> None:
    """And needs no package: text in, a verdict out."""
    inside = _in("dkv/history/")
    allowed = (PURE - {"msgpack", "random"}) | {"json", "base64"}
    assert [i for i in inside if i.top not in allowed and i.top != "dkv"] == []
    own = [i.module for i in _own(inside) if not i.module.startswith("dkv.history")]
    assert set(own) == {"dkv.errors"}


def test_dice_are_handed_in() -> None:
    """The class may be named, as the type of what is handed in; a node draws its seed."""
    drawn = [
        i
        for i in _in("dkv/") + _in("actors/", "actors/node.py")
        if i.top == "random" and i.names != ("Random",)
    ]
    assert drawn == []


@pytest.mark.parametrize("module", sorted(ONLY_IN))
def test_a_resource_has_few_owners(module: str) -> None:
    allowed = ONLY_IN[module]
    elsewhere = [
        i.file for i in IMPORTS if i.top == module and not any(fnmatch(i.file, a) for a in allowed)
    ]
    assert elsewhere == []


def test_actors_never_import_one_another() -> None:
    modules = {f"actors.{name}" for name in ACTORS}
    may_build_them = ("actors/assembly.py", "actors/node.py")
    meetings = [i for i in IMPORTS if i.module in modules and i.file not in may_build_them]
    assert meetings == []


def test_the_client_imports_neither_the_server_nor_its_parts() -> None:
    server = ("actors", "cli", "dkv.raft", "dkv.kv", "dkv.codec", "dkv.messages")
    assert [i for i in _in("dkv/client/") if i.module.startswith(server)] == []


def test_the_load_is_a_client_too() -> None:
    """It measures the server from outside; the client does not know of it."""
    server = ("actors", "cli", "dkv.raft", "dkv.kv", "dkv.codec", "dkv.messages")
    assert [i for i in _in("dkv/load/") if i.module.startswith(server)] == []
    assert [i for i in _in("dkv/client/") if i.module.startswith("dkv.load")] == []


def test_the_conformance_kit_knows_neither_server_nor_client() -> None:
    """It judges both, from the page: what it shared with them would be wrong in both alike."""
    inside = _own(_in("dkv/conformance/"))
    judged = ("actors", "cli", "dkv.raft", "dkv.kv", "dkv.codec", "dkv.messages", "dkv.client")
    assert [i for i in inside if i.module.startswith(judged)] == []


def test_an_application_that_imports_the_client_loads_little() -> None:
    script = "import sys, dkv.client; print(*sys.modules)"
    run = subprocess.run(
        (sys.executable, "-c", script), cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(run.stdout.split())
    unwanted = (
        "actors",
        "cli",
        "dkv.load",
        "dkv.raft",
        "dkv.kv",
        "sqlite3",
        "sqlitedict",
        "click",
        "rich",
    )
    assert loaded.isdisjoint(unwanted)
