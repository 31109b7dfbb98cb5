"""Certificates and trust files: what the authority said is believed, and not one bit more."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import msgpack
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey
from zmq.utils import z85 as zmq_z85

from dkv.errors import Code
from dkv.limits import INT_MAX
from dkv.security.armor import armored
from dkv.security.authority import DAY_S, Authority
from dkv.security.certificate import (
    LABEL,
    PREFIX,
    ROLES,
    Certificate,
    open_certificate,
    read_certificate,
)
from dkv.security.identity import KIND, certificates_beside, load_identity
from dkv.security.refusal import CertificateError
from dkv.security.secrets import CurvePair, curve_pair, draw_curve_pair, write_secret
from dkv.security.trust import AUTHORITY_LABEL, AUTHORITY_PREFIX, Trust, read_trust
from dkv.security.words import end_in_words
from dkv.security.z85 import from_z85, z85

NOW_S = 1_800_000_000
SEED = bytes(range(32))
AUTHORITY = Authority(SEED)
OTHER = Authority(bytes(32))
PAIR = curve_pair(b"\7" * 32)
TRUST = AUTHORITY.found(NOW_S, 3_650)
CERTIFICATE = AUTHORITY.certify("anna", PAIR.public, "writer", NOW_S * 1_000 + 5, 365)


def refused(call: Callable[..., object], *fields: object) -> CertificateError:
    with pytest.raises(CertificateError) as caught:
        call(*fields)
    return caught.value


def signed(body: object, prefix: bytes = PREFIX) -> bytes:
    packed = bytes(msgpack.packb(body))
    return bytes(SigningKey(SEED).sign(prefix + packed).signature) + packed


def one_bit_flips(data: bytes) -> list[bytes]:
    flips = []
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        flips.append(bytes(changed))
    return flips


# -- certificates --------------------------------------------------------------------------------
@pytest.mark.parametrize("role", ROLES)
def test_a_certificate_says_in_its_text_what_was_certified(role: str) -> None:
    made = AUTHORITY.certify("n1", PAIR.public, role, NOW_S * 1_000 + 5, 365)
    read = read_certificate(made.text, AUTHORITY.public)
    assert read == made
    assert (read.name, read.curve_key, read.role) == ("n1", PAIR.public, role)
    assert read.not_before <= NOW_S < read.not_after == NOW_S + 365 * DAY_S
    assert read.serial == NOW_S * 1_000 + 5


def test_every_changed_bit_of_what_was_signed_is_refused() -> None:
    for blob in one_bit_flips(CERTIFICATE.blob):
        refused(open_certificate, blob, AUTHORITY.public, "it")


def test_a_changed_bit_of_the_text_is_refused_or_was_a_comment() -> None:
    taken = 0
    for text in one_bit_flips(CERTIFICATE.text):
        try:
            assert read_certificate(text, AUTHORITY.public) == CERTIFICATE
            taken += 1
        except CertificateError:
            pass
    outside = 8 * (CERTIFICATE.text.index(b"-----BEGIN") + 1)  # and the newline after the end
    spaces = 8 * CERTIFICATE.text.count(b"\n")
    assert taken <= outside + spaces


def test_a_certificate_that_is_cut_off_anywhere_is_refused() -> None:
    for size in range(len(CERTIFICATE.blob)):
        refused(open_certificate, CERTIFICATE.blob[:size], AUTHORITY.public, "it")


def test_a_certificate_with_bytes_added_is_refused() -> None:
    refused(open_certificate, CERTIFICATE.blob + b"\0", AUTHORITY.public, "it")


def test_another_authoritys_certificate_is_refused_and_says_why() -> None:
    theirs = OTHER.certify("anna", PAIR.public, "admin", NOW_S * 1_000, 365)
    error = refused(TRUST.read, theirs.text, "a.cert", NOW_S, ROLES)
    assert error.code is Code.CERTIFICATE_REFUSED
    assert "a.cert is not signed by this cluster's authority" in str(error)


def test_what_the_authority_signed_of_itself_is_no_certificate() -> None:
    body = [1, "anna", PAIR.public, "admin", 0, INT_MAX, 1]
    assert open_certificate(signed(body), AUTHORITY.public, "it").role == "admin"
    refused(open_certificate, signed(body, AUTHORITY_PREFIX), AUTHORITY.public, "it")


@pytest.mark.parametrize(
    "body",
    [
        [1, "anna", PAIR.public, "root", 0, 1, 1],
        [1, "../anna", PAIR.public, "admin", 0, 1, 1],
        [1, "anna", PAIR.public[:31], "admin", 0, 1, 1],
        [1, "anna", "k" * 32, "admin", 0, 1, 1],
        [1, "anna", PAIR.public, ["admin"], 0, 1, 1],
        [1, "anna", PAIR.public, "admin", -1, 1, 1],
        [1, "anna", PAIR.public, "admin", 0, 2**63, 1],
        [1, "anna", PAIR.public, "admin", 0, 1, True],
        [1, "anna", PAIR.public, "admin", 0, 1],
        [1, "anna", PAIR.public, "admin", 0, 1, 1, 1],
        [2, "anna", PAIR.public, "admin", 0, 1, 1],
        {"version": 1},
        [],
        7,
        None,
    ],
    ids=repr,
)
def test_what_is_signed_and_makes_no_sense_is_refused(body: object) -> None:
    refused(open_certificate, signed(body), AUTHORITY.public, "it")


@pytest.mark.parametrize("name", ["", "../x", "a b", "a\x1b[2J", "x" * 64])
def test_the_authority_certifies_no_name_that_is_no_name(name: str) -> None:
    with pytest.raises(Exception, match="name"):
        AUTHORITY.certify(name, PAIR.public, "writer", 0, 1)


def test_the_authority_certifies_no_role_that_is_none() -> None:
    assert "root" in str(refused(AUTHORITY.certify, "anna", PAIR.public, "root", 0, 1))


def test_a_text_with_two_certificates_or_none_is_refused() -> None:
    two = CERTIFICATE.text + CERTIFICATE.text
    assert "2 certificates" in str(refused(read_certificate, two, AUTHORITY.public))
    refused(read_certificate, b"", AUTHORITY.public)
    refused(read_certificate, TRUST.text, AUTHORITY.public)


def test_a_text_that_is_too_long_is_refused_unread() -> None:
    long = b"# " + b"x" * 4_096 + b"\n" + CERTIFICATE.text
    assert "too long" in str(refused(read_certificate, long, AUTHORITY.public))


# -- time and role -------------------------------------------------------------------------------
def test_a_certificate_is_good_from_its_first_to_its_last_second() -> None:
    for now_s in (CERTIFICATE.not_before, CERTIFICATE.not_after):
        assert TRUST.read(CERTIFICATE.text, "it", now_s, ROLES) == CERTIFICATE


@pytest.mark.parametrize(
    ("now_s", "words"),
    [
        (CERTIFICATE.not_after + 1, "expired on"),
        (CERTIFICATE.not_before - 1, "valid only from|authority is valid from"),
    ],
)
def test_before_and_after_that_it_is_refused_as_expired(now_s: int, words: str) -> None:
    trust = TRUST._replace(not_before=0)
    with pytest.raises(CertificateError, match=words) as caught:
        trust.read(CERTIFICATE.text, "it", now_s, ROLES)
    assert caught.value.code is Code.CERTIFICATE_EXPIRED


def test_when_the_authority_has_expired_so_has_all_it_signed() -> None:
    trust = AUTHORITY.found(NOW_S, 1)
    error = refused(trust.read, CERTIFICATE.text, "it", NOW_S + 2 * DAY_S, ROLES)
    assert error.code is Code.CERTIFICATE_EXPIRED
    assert "authority" in str(error)


def test_an_end_is_announced_from_thirty_days_before() -> None:
    assert end_in_words(NOW_S + 30 * DAY_S + 1, NOW_S) is None
    assert end_in_words(NOW_S + 30 * DAY_S, NOW_S) == "ends on 2027-02-14, in 30 days"
    assert end_in_words(NOW_S - 1, NOW_S) == "expired on 2027-01-15"


@pytest.mark.parametrize("role", ["node", "server"])
def test_a_client_does_not_load_the_certificate_of_a_node_or_server(
    tmp_path: Path, role: str
) -> None:
    files = lay_out(tmp_path, role)
    assert load_identity(*files, NOW_S, roles=(role,)).certificate.role == role
    error = refused(load_identity, *files, NOW_S)
    assert f"is a {role} certificate" in str(error)
    assert error.code is Code.CERTIFICATE_REFUSED


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    cert, key, trust = lay_out(tmp_path, "writer")
    assert load_identity(cert, key, trust, NOW_S).pair == PAIR
    other = tmp_path / "other.key"
    write_secret(other, KIND, draw_curve_pair().secret, None)
    error = refused(load_identity, cert, other, trust, NOW_S)
    assert "different pairs" in str(error)


def lay_out(folder: Path, role: str, pair: CurvePair = PAIR) -> tuple[Path, Path, Path]:
    made = AUTHORITY.certify("anna", pair.public, role, NOW_S * 1_000, 365)
    cert, key, trust = folder / "anna.cert", folder / "anna.key", folder / "trust"
    cert.write_bytes(made.text)
    trust.write_bytes(TRUST.text)
    write_secret(key, KIND, pair.secret, None)
    return cert, key, trust


# -- trust files ---------------------------------------------------------------------------------
def server(name: str = "server", at_s: int = NOW_S, days: int = 365) -> Certificate:
    return AUTHORITY.certify(name, draw_curve_pair().public, "server", at_s * 1_000, days)


def test_a_trust_file_names_its_authority_and_its_servers() -> None:
    trust = TRUST._replace(server_certificates=(server(), server()))
    assert read_trust(trust.text, "it") == trust


def test_of_two_servers_the_newest_comes_first_and_an_expired_one_not_at_all() -> None:
    old, new = server(at_s=NOW_S - DAY_S, days=30), server(at_s=NOW_S)
    trust = read_trust(TRUST._replace(server_certificates=(old, new)).text, "it")
    assert trust.servers(NOW_S) == (new, old)
    assert trust.servers(NOW_S + 30 * DAY_S) == (new,)
    assert trust.servers(NOW_S + 365 * DAY_S + 1) == ()


def test_a_trust_file_vouches_for_no_server_that_is_a_node() -> None:
    node = AUTHORITY.certify("n1", PAIR.public, "node", NOW_S * 1_000, 365)
    assert read_trust(TRUST.text + node.text, "it").servers(NOW_S) == ()


def test_a_trust_file_with_another_authoritys_server_is_refused() -> None:
    theirs = OTHER.certify("server", PAIR.public, "server", NOW_S * 1_000, 365)
    refused(read_trust, TRUST.text + theirs.text, "it")


def test_every_changed_bit_of_the_authority_is_refused() -> None:
    for blob in one_bit_flips(TRUST.blob):
        text = armored(AUTHORITY_LABEL, blob, ())
        refused(read_trust, text, "it")


def test_two_authorities_are_no_trust_file() -> None:
    theirs = OTHER.found(NOW_S, 3_650)
    refused(read_trust, TRUST.text + theirs.text, "it")


@pytest.mark.parametrize("times", [(-1, NOW_S), (0, 2**63), (-(2**62), -(2**61))], ids=repr)
def test_an_authority_of_no_possible_time_is_refused(times: tuple[int, int]) -> None:
    """Whoever makes a trust file signs it himself: its numbers are hostile too."""
    blob = signed([1, AUTHORITY.public, *times], AUTHORITY_PREFIX)
    refused(read_trust, armored(AUTHORITY_LABEL, blob, ()), "it")


def test_beside_a_node_lie_the_newest_certificates_of_its_members(tmp_path: Path) -> None:
    def lay(file: str, made: Certificate) -> Certificate:
        (tmp_path / file).write_bytes(made.text)
        return made

    def node(name: str, at_s: int, days: int = 365, by: Authority = AUTHORITY) -> Certificate:
        return by.certify(name, draw_curve_pair().public, "node", at_s * 1_000, days)

    lay("old.cert", node("n1", NOW_S - DAY_S))
    newest = lay("new.cert", node("n1", NOW_S))
    lay("expired.cert", node("n2", NOW_S - 9 * DAY_S, days=1))
    lay("foreign.cert", node("n3", NOW_S, by=OTHER))
    lay("client.cert", AUTHORITY.certify("n4", PAIR.public, "admin", NOW_S * 1_000, 9))
    (tmp_path / "junk.cert").write_bytes(b"\xff")
    assert certificates_beside(tmp_path, TRUST, NOW_S) == {"n1": newest}


# -- any bytes -----------------------------------------------------------------------------------
AROUND_A_BLOCK = st.builds(
    lambda before, body, after: before + b"-----BEGIN " + body + b"-----END " + after,
    st.binary(max_size=20),
    st.sampled_from((LABEL, AUTHORITY_LABEL)).map(lambda x: x.encode() + b"-----\n"),
    st.binary(max_size=60),
)
BLOCKS = st.builds(
    lambda label, blob: armored(label, blob, ()),
    st.sampled_from((LABEL, AUTHORITY_LABEL)),
    st.binary(max_size=200),
)
CHANGED = st.builds(
    lambda text, at, piece: text[: at % len(text)] + piece + text[at % len(text) :],
    st.sampled_from((CERTIFICATE.text, TRUST.text)),
    st.integers(0, 2_000),
    st.binary(max_size=8),
)
TEXTS = st.one_of(st.binary(max_size=300), AROUND_A_BLOCK, BLOCKS, CHANGED)


@given(TEXTS)
def test_any_bytes_are_a_certificate_or_a_certificate_error(text: bytes) -> None:
    with suppress(CertificateError):
        assert read_certificate(text, AUTHORITY.public) == CERTIFICATE


@given(TEXTS)
def test_any_bytes_are_a_trust_file_or_a_certificate_error(text: bytes) -> None:
    with suppress(CertificateError):
        assert read_trust(text, "it").authority == TRUST.authority


NUMBERS = st.integers(-(2**63), 2**64 - 1)
MSGPACK = st.recursive(
    st.none()
    | st.booleans()
    | NUMBERS
    | st.floats()
    | st.text(max_size=9)
    | st.binary(max_size=40)
    | st.just(PAIR.public)
    | st.sampled_from((1, "anna", "admin")),
    lambda inner: st.lists(inner, max_size=8),
    max_leaves=12,
)


@given(MSGPACK)
def test_whatever_is_signed_is_sound_or_a_certificate_error(body: object) -> None:
    try:
        made = open_certificate(signed(body), AUTHORITY.public, "it")
        assert read_certificate(made.text, AUTHORITY.public) == made
    except CertificateError:
        pass


@given(st.tuples(NUMBERS | MSGPACK, NUMBERS | MSGPACK) | st.lists(MSGPACK, max_size=3))
def test_whatever_an_authority_says_of_itself_is_sound_or_a_certificate_error(
    times: Sequence[object],
) -> None:
    blob = signed([1, AUTHORITY.public, *times], AUTHORITY_PREFIX)
    try:
        trust = read_trust(armored(AUTHORITY_LABEL, blob, ()), "it")
        trust.check_time(NOW_S, "it")
        assert isinstance(read_trust(trust.text, "it"), Trust)
    except CertificateError:
        pass


# -- z85 -----------------------------------------------------------------------------------------
@given(st.binary(max_size=64).map(lambda raw: raw[: len(raw) // 4 * 4]))
def test_z85_is_spelled_as_pyzmq_spells_it(raw: bytes) -> None:
    assert z85(raw) == zmq_z85.encode(raw)
    assert from_z85(z85(raw)) == raw


@given(st.one_of(st.binary(max_size=10), st.text(alphabet="%#a0", max_size=10).map(str.encode)))
def test_what_spells_no_bytes_in_z85_is_none(text: bytes) -> None:
    raw = from_z85(text)
    assert raw is None or z85(raw) == text


def test_curve_pairs_are_zeromqs() -> None:
    pair = draw_curve_pair()
    assert zmq.curve_public(z85(pair.secret)) == z85(pair.public)
