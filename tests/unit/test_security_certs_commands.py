"""`dkvctl certs`: from an empty folder to certificates that a node and a client take."""

import stat
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner

from cli.ctl import cli
from cli.endings import Exit
from dkv.security.certificate import Certificate
from dkv.security.files import read_file
from dkv.security.identity import load_identity
from dkv.security.trust import load_trust


class Said(NamedTuple):
    code: int
    out: str
    err: str


class Folder:
    """A folder of certificates, and what `dkvctl certs` does with it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, verb: str, *words: str, typed: str = "") -> Said:
        place = [] if verb in ("show", "verify") else [f"--dir={self.path}"]
        result = CliRunner().invoke(cli, ["certs", verb, *words, *place], input=typed)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return Said(result.exit_code, result.stdout, result.stderr)

    def make(self, verb: str, *words: str) -> None:
        said = self.run(verb, *words)
        assert said.code == Exit.DONE, said.err

    def file(self, name: str) -> str:
        return str(self.path / name)

    def servers(self) -> tuple[Certificate, ...]:
        return load_trust(self.path / "trust").servers(int(time.time()))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path / "certs")
    made.make("init")
    return made


def test_what_is_made_is_loaded_by_a_node_and_by_a_client(folder: Folder) -> None:
    folder.make("server")
    folder.make("node", "n1", "n2")
    folder.make("client", "anna", "--role=admin")
    now_s, path = int(time.time()), folder.path
    for name, role in (("n1", "node"), ("n2", "node"), ("server", "server"), ("anna", "admin")):
        files = (path / f"{name}.cert", path / f"{name}.key", path / "trust")
        identity = load_identity(*files, now_s, roles=(role,))
        assert identity.certificate.name == name
        assert len(identity.server_keys_z85(now_s)) == 1


def test_secrets_are_readable_by_their_owner_alone_and_the_rest_by_all(folder: Folder) -> None:
    folder.make("node", "n1")
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in folder.path.iterdir()}
    assert modes == {"authority.key": 0o600, "n1.key": 0o600, "n1.cert": 0o644, "trust": 0o644}


@pytest.mark.parametrize("words", [("init",), ("node", "n1"), ("client", "n1")])
def test_nothing_is_made_over_what_is_there(folder: Folder, words: tuple[str, ...]) -> None:
    folder.make("node", "n1")
    before = {p.name: p.read_bytes() for p in folder.path.iterdir()}
    said = folder.run(*words)
    assert said.code == Exit.USAGE
    assert "exists already" in said.err
    assert {p.name: p.read_bytes() for p in folder.path.iterdir()} == before


def test_an_authority_whose_key_is_kept_elsewhere_is_not_made_anew(folder: Folder) -> None:
    (folder.path / "authority.key").rename(folder.path.parent / "safe")
    said = folder.run("init")
    assert said.code == Exit.USAGE
    assert "an authority is made once" in said.err


def test_a_second_server_pair_stands_beside_the_first_in_the_trust_file(folder: Folder) -> None:
    folder.make("server")
    (first,) = folder.servers()
    folder.make("server")
    second, old = folder.servers()
    assert old == first
    assert second.serial > first.serial
    kept = load_trust(folder.path / "trust").read(
        read_file(folder.path / f"server-{first.serial}.cert"), "", int(time.time()), ("server",)
    )
    assert kept == first
    folder.make("server")
    assert [c.serial for c in folder.servers()][1:] == [second.serial], "two are kept"


def test_certificates_need_an_authority_first(tmp_path: Path) -> None:
    said = Folder(tmp_path / "none").run("node", "n1")
    assert said.code == Exit.USAGE
    assert "certs init" in said.err


def test_a_trust_file_of_another_authority_is_noticed(folder: Folder, tmp_path: Path) -> None:
    other = Folder(tmp_path / "other")
    other.make("init")
    (folder.path / "trust").write_bytes((other.path / "trust").read_bytes())
    said = folder.run("node", "n1")
    assert said.code == Exit.USAGE
    assert "another authority" in said.err
    assert not (folder.path / "n1.cert").exists()


@pytest.mark.parametrize("name", ["../n1", "a/b", "", "n 1", "n1\x1b[2J"])
def test_a_name_that_is_no_name_leaves_no_file(folder: Folder, name: str) -> None:
    before = sorted(folder.path.parent.rglob("*"))
    assert folder.run("node", name).code == Exit.USAGE
    assert sorted(folder.path.parent.rglob("*")) == before


def test_a_locked_authority_asks_for_its_passphrase(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "certs")
    assert folder.run("init", "--lock", typed="correct\ncorrect\n").code == Exit.DONE
    said = folder.run("node", "n1", typed="wrong\n")
    assert said.code == Exit.USAGE
    assert "passphrase does not open it" in said.err
    assert folder.run("node", "n1", typed="correct\n").code == Exit.DONE


def test_a_locked_key_of_a_client_is_said_to_be_locked(folder: Folder) -> None:
    assert folder.run("client", "anna", "--lock", typed="a\na\n").code == Exit.DONE
    said = folder.run("verify", folder.file("anna.cert"))
    assert "its key is locked" in said.out


def test_show_says_what_is_in_certificates_and_trust_files(folder: Folder) -> None:
    folder.make("server")
    folder.make("client", "anna", "--role=reader", "--days=9")
    said = folder.run("show", folder.file("anna.cert"), folder.file("trust"))
    assert said.code == Exit.DONE
    assert "reader anna" in said.out
    assert "trust file" in said.out
    assert "server server" in said.out


def test_verify_says_good_and_that_the_key_fits(folder: Folder) -> None:
    folder.make("node", "n1")
    said = folder.run("verify", folder.file("n1.cert"))
    assert (said.code, said.err) == (Exit.DONE, "")
    assert "good, node n1" in said.out
    assert "its key fits" in said.out


def test_verify_warns_of_an_end_within_thirty_days(folder: Folder) -> None:
    folder.make("node", "n1", "--days=29")
    said = folder.run("verify", folder.file("n1.cert"))
    assert said.code == Exit.DONE
    assert "warning" in said.err
    assert "in 29 days" in said.err or "in 28 days" in said.err


def test_verify_refuses_anothers_key_and_another_authority(folder: Folder, tmp_path: Path) -> None:
    folder.make("node", "n1", "n2")
    (folder.path / "n1.key").write_bytes((folder.path / "n2.key").read_bytes())
    said = folder.run("verify", folder.file("n1.cert"))
    assert said.code == Exit.USAGE
    assert "different pairs" in said.err
    other = Folder(tmp_path / "other")
    other.make("init")
    said = folder.run("verify", folder.file("n2.cert"), f"--cacert={other.file('trust')}")
    assert said.code == Exit.USAGE
    assert "not signed by this cluster's authority" in said.err


def test_a_damaged_file_is_one_sentence(folder: Folder) -> None:
    (folder.path / "bad.cert").write_bytes(b"\xff\xfe")
    for verb in ("show", "verify"):
        said = folder.run(verb, folder.file("bad.cert"))
        assert said.code == Exit.USAGE
        assert len(said.err.strip().splitlines()) == 1
