"""Key files: a secret that lies on a disk, and what is refused to pass for one."""

import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nacl import pwhash

from dkv.errors import Ending
from dkv.security.armor import armored, unarmored
from dkv.security.files import replace_file, write_new
from dkv.security.identity import KIND
from dkv.security.refusal import CertificateError
from dkv.security.secrets import is_locked, read_secret, write_secret

SECRET = bytes(range(32))
PHRASE = "correct horse"
LABEL = "DKV SECRET KEY"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "anna.key"


def refused(path: Path, passphrase: str | None = None, kind: str = KIND) -> str:
    with pytest.raises(CertificateError) as caught:
        read_secret(path, kind, passphrase)
    assert caught.value.ending is Ending.CERTIFICATE
    assert SECRET.hex() not in str(caught.value)
    return str(caught.value)


def craft(path: Path, record: Any) -> Path:
    path.unlink(missing_ok=True)
    write_new(path, armored(LABEL, msgpack.packb(record), ()), 0o600)
    return path


def locked_record(path: Path) -> list[Any]:
    write_secret(path, KIND, SECRET, PHRASE)
    record: list[Any] = msgpack.unpackb(unarmored(LABEL, path.read_bytes(), "")[0])
    return record


def test_a_key_is_read_as_it_was_written_and_only_its_owner_may_read_it(path: Path) -> None:
    write_secret(path, KIND, SECRET, None)
    assert read_secret(path, KIND) == SECRET
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not is_locked(path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o777])
def test_a_key_that_others_may_touch_is_refused(path: Path, mode: int) -> None:
    write_secret(path, KIND, SECRET, None)
    path.chmod(mode)
    assert "chmod 600" in refused(path)


def test_a_key_is_never_written_over_another_file(path: Path) -> None:
    write_secret(path, KIND, SECRET, None)
    before = path.read_bytes()
    with pytest.raises(CertificateError, match="exists already"):
        write_secret(path, KIND, bytes(32), None)
    assert path.read_bytes() == before


def test_a_key_of_another_kind_is_refused(path: Path) -> None:
    write_secret(path, "authority", SECRET, None)
    assert "'authority'" in refused(path)


def test_a_key_that_is_cut_off_anywhere_is_refused(path: Path) -> None:
    write_secret(path, KIND, SECRET, None)
    whole = path.read_bytes()
    for size in range(len(whole) - 1):  # the last byte is a newline behind the end
        path.write_bytes(whole[:size])
        refused(path)


def test_a_locked_key_opens_with_its_passphrase_alone(path: Path) -> None:
    write_secret(path, KIND, SECRET, PHRASE)
    assert is_locked(path)
    assert SECRET not in unarmored(LABEL, path.read_bytes(), "")[0]
    assert read_secret(path, KIND, PHRASE) == SECRET
    assert "passphrase does not open it" in refused(path, "wrong")
    assert "none was given" in refused(path)


def test_two_keys_under_one_passphrase_are_locked_differently(path: Path) -> None:
    first, second = locked_record(path), locked_record(path.with_name("other.key"))
    assert first[4] != second[4], "the salt"
    assert first[5] != second[5]


def test_a_locked_key_whose_box_was_changed_is_refused(path: Path) -> None:
    record = locked_record(path)
    box = bytearray(record[5])
    box[-1] ^= 1
    record[5] = bytes(box)
    refused(craft(path, record), PHRASE)


DAMAGED, GREEDY, SHUT = "damaged", "bytes of memory", "does not open it"


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (2, pwhash.argon2id.OPSLIMIT_SENSITIVE + 1, DAMAGED),
        (2, 2**63, DAMAGED),
        (2, -1, DAMAGED),
        (2, True, DAMAGED),
        (2, "9", DAMAGED),
        (2, 1.5, DAMAGED),
        (3, pwhash.argon2id.MEMLIMIT_SENSITIVE + 1, GREEDY),
        (3, 2**40, GREEDY),
        (3, 2**64 - 1, GREEDY),
        (3, 0, GREEDY),
        (3, -1, GREEDY),
        (3, 1, SHUT),
        (3, None, DAMAGED),
        (4, b"", SHUT),
        (4, bytes(17), SHUT),
        (4, "text", SHUT),
        (4, None, SHUT),
        (5, b"", SHUT),
        (5, bytes(39), SHUT),
        (5, bytes(1_000), SHUT),
        (5, "text", "holds no curve key"),
        (1, b"curve", "holds no curve key"),
        (1, None, "holds no curve key"),
        (0, 2, "holds no curve key"),
        (0, None, "holds no curve key"),
    ],
)
def test_a_crafted_key_file_gets_no_terabytes_and_no_exception(
    path: Path, place: int, value: Any, words: str
) -> None:
    record = locked_record(path)
    record[place] = value
    assert words in refused(craft(path, record), PHRASE)


@pytest.mark.parametrize("size", [0, 31, 33, 1_000])
def test_a_key_of_another_length_is_refused(path: Path, size: int) -> None:
    assert "damaged" in refused(craft(path, [1, KIND, 0, 0, b"", bytes(size)]))


def test_what_is_no_key_file_is_refused_in_words(path: Path) -> None:
    assert "does not exist" in refused(path)
    assert "cannot be read" in refused(path.parent)
    for data in (b"", b"hello", b"\xff" * 100, armored("DKV CERTIFICATE", b"x", ())):
        path.write_bytes(data)
        path.chmod(0o600)
        assert "not a key file" in refused(path)
    path.write_bytes(armored(LABEL, b"x", ()) * 2)
    assert "not a key file" in refused(path)
    path.write_bytes(b"x" * 5_000)
    assert "too long" in refused(path)


MSGPACK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text(max_size=9)
    | st.binary(max_size=40)
    | st.sampled_from((1, KIND, 0, SECRET)),
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.integers(0, 9), inner),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    MSGPACK.map(lambda record: armored(LABEL, msgpack.packb(record), ()))
    | st.binary(min_size=1, max_size=200).map(lambda blob: armored(LABEL, blob, ()))
    | st.binary(max_size=200)
)
def test_any_bytes_are_a_key_or_a_certificate_error(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    write_new(path, data, 0o600)
    with suppress(CertificateError):
        assert len(read_secret(path, KIND)) == 32


def test_a_file_is_replaced_whole_over_what_an_earlier_try_left(path: Path) -> None:
    path.write_bytes(b"old")
    path.with_name("anna.key.new").write_bytes(b"half")
    replace_file(path, b"new", 0o644)
    assert path.read_bytes() == b"new"
    assert [p.name for p in path.parent.iterdir()] == ["anna.key"]
