"""The golden vectors stay readable for ever, by a node and by the library; and they are complete.

A vector that no longer reads as it did is a break of the protocol: the code is wrong, not the file.
"""

from typing import Any

import msgpack
import pytest

from actors.admission import Admission, Asked
from dkv.address import Instant
from dkv.client.bursts import replies_of
from dkv.counters import Counters
from dkv.errors import CODE_BY_NAME, RULES, Rejected, error_told
from dkv.frames import part
from dkv.limits import ClusterLimits
from dkv.messages import FromClient
from dkv.requests import HEADER, PROTOCOL, TABLE
from tests.conformance.vectors import FOLDER, from_json, kept

ALL: list[Any] = [
    pytest.param(vector, id=f"{file} {vector['name']}")
    for file, found in kept().items()
    for vector in found
]
REQUESTS = [each for each in ALL if each.values[0]["name"].startswith("request")]
REPLIES = [each for each in ALL if each.values[0]["name"].startswith("reply")]
NAMES = {each.values[0]["name"] for each in ALL}


def frames_of(vector: dict[str, Any]) -> tuple[bytes, ...]:
    return tuple(map(bytes.fromhex, vector["frames"]))


def parts_of(vector: dict[str, Any]) -> tuple[bytes, bytes]:
    """(request id, body)"""
    frames = [frame for frame in frames_of(vector) if frame]
    if len(frames) == 1:
        found = part(frames[0])
        assert found is not None
        return found
    assert frames[0] == PROTOCOL
    return b"" if len(frames) == 2 else frames[1], frames[-1]


@pytest.mark.parametrize("vector", REQUESTS)
def test_a_node_reads_a_request_as_it_was_meant(vector: dict[str, Any]) -> None:
    admission = Admission(ClusterLimits(), None, "", Counters())
    found = list(
        admission.read(FromClient(b"c", "insecure", frames_of(vector)), Instant(0, 1_700_000_000))
    )
    request_id, body = parts_of(vector)
    assert msgpack.unpackb(body) == from_json(vector["body"])
    headers = vector["body"] if isinstance(vector["body"], list) else [vector["body"]]
    for asked, header, command in zip(found, headers, vector["commands"], strict=True):
        assert isinstance(asked, Asked), asked
        assert asked.slip.request_id == request_id
        meant = {name: from_json(v) for name, v in header.items() if name in HEADER}
        assert {name: getattr(asked.header, name) for name in meant} == meant
        assert asked.request.op == command["op"]
        said = {f: from_json(v) for f, v in command.items() if f in asked.fields}
        assert {f: asked.fields[f] for f in said} == said
        assert command.keys() - said.keys() <= {"op", "novel"}


@pytest.mark.parametrize("vector", REPLIES)
def test_the_library_reads_a_reply_as_it_was_meant(vector: dict[str, Any]) -> None:
    request_id, body = parts_of(vector)
    meant = from_json(vector["body"])
    bodies = meant if isinstance(meant, list) else [meant]
    found = list(replies_of((PROTOCOL, request_id, body)))
    assert [reply for _id, reply in found] == bodies
    for answered, reply in found:
        assert answered == (request_id or reply["id"])
        if "error" in reply:
            _check_error(reply["error"])


def _check_error(fields: dict[str, Any]) -> None:
    error = error_told(fields)
    assert (error.name, error.applied, error.leader) == (
        fields["code"],
        fields["applied"],
        fields["leader"],
    )
    assert error.retry == fields["retry"] == RULES[CODE_BY_NAME[error.name]].retry
    assert isinstance(error, Rejected) == (error.applied == "no")


@pytest.mark.parametrize("op", TABLE)
def test_each_request_has_its_vectors(op: str) -> None:
    missing = {f"request: {op}, least", f"reply: {op}"} - NAMES
    assert not missing, "make them, once: python -m tests.conformance.vectors NAME"


@pytest.mark.parametrize("code", [code.name.lower() for code in RULES])
def test_each_code_has_its_vector(code: str) -> None:
    assert f"reply: error {code}" in NAMES


@pytest.mark.parametrize("field", HEADER)
def test_each_field_around_a_command_has_its_vector(field: str) -> None:
    known = [each.values[0]["body"] for each in REQUESTS]
    assert any(isinstance(body, dict) and field in body for body in known)


def test_the_vectors_of_the_first_version_are_here() -> None:
    assert (FOLDER / "v1.json").exists()
    assert len(ALL) >= 150
