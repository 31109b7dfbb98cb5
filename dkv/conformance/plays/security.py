"""Plays about certificates, keys and handshakes.

Owns: rules C30 to C37. Must never know how a stage works.
"""

import re
import socket
from contextlib import suppress

from dkv.conformance.driver import Broken
from dkv.conformance.scene import SILENCE, done, expect, first, play, rejected
from dkv.conformance.stage import HOST, Stage, free_port

_PATIENT_MS = 8_000
_DEFINITE_S = 1.5
_GREETING = b"HTTP/1.1 400 Bad Request\r\n\r\n"


@play("C30")
def a_certificate_forgotten(stage: Stage) -> None:
    done(stage, stage.tell("put", key=b"k", value=b"1"), "a put")
    stage.nodes["n1"].forgets = "any"
    done(stage, stage.tell("put", key=b"k", value=b"2"), "a put after `certificate_needed`")
    puts = [seen for seen in stage.asked("put") if seen.fields["value"] == b"2"]
    expect(len({seen.header.command for seen in puts}) == 1, "its command's bytes changed")
    expect(len(stage.asked("present")) >= 2, "the certificate was not presented again")


@play("C30")
def a_node_started_again(stage: Stage) -> None:
    """libzmq connects again without a word; the new process has seen no certificate."""
    done(stage, stage.tell("put", key=b"k", value=b"1"), "a put")
    stage.shut("n1")
    stage.listen("n1")
    done(stage, stage.tell("put", key=b"k", value=b"2", timeout_ms=_PATIENT_MS), "a put")


@play("C31")
def a_certificate_refused(stage: Stage) -> None:
    stage.nodes["n1"].refuses = "certificate_refused"
    number = stage.tell("put", key=b"k", value=b"v", timeout_ms=_PATIENT_MS)
    stage.run(lambda: bool(stage.asked("present")), _PATIENT_MS / 1_000)
    stage.run(lambda: number in stage.answers, _DEFINITE_S)
    count = len(stage.asked("present"))
    expect(count <= 20, f"the certificate was presented {count} times in {_DEFINITE_S} s")
    expect(number in stage.answers, f"a put went on for {_DEFINITE_S} s after it was refused")
    error = rejected(stage, number, "a put")
    codes = ("certificate_refused", "certificate_needed")
    expect(error.get("code") in codes, f"its code is {error.get('code')}")


@play("C32")
def a_server_of_another_authority(stage: Stage) -> None:
    stage.files = stage.cast.forged
    rejected(stage, stage.tell("get", key=b"k", timeout_ms=1_500), "a get")
    expect(not stage.seen, "requests went to a server whose certificate is forged")


@play("C33")
def a_server_certificate_of_the_past(stage: Stage) -> None:
    """It is the newest of the file; the other one is valid."""
    stage.files = stage.cast.expired
    done(stage, stage.tell("get", key=b"k", timeout_ms=_PATIENT_MS), "a get")


@play("C33")
def a_server_of_the_past(stage: Stage) -> None:
    stage.files = stage.cast.expired
    stage.shut("n1")
    stage.listen("n1", stage.cast.gone)
    rejected(stage, stage.tell("get", key=b"k", timeout_ms=1_500), "a get")
    expect(not stage.seen, "requests went to a server whose certificate has expired")


@play("C34")
def the_other_server_key(stage: Stage) -> None:
    """The trust file names a newer pair; the node still proves the older one."""
    stage.files = stage.cast.two
    done(stage, stage.tell("get", key=b"k", timeout_ms=_PATIENT_MS), "a get")


@play("C34")
def a_server_key_that_is_replaced(stage: Stage) -> None:
    stage.files = stage.cast.two
    stage.shut("n1")
    stage.listen("n1", stage.cast.new)
    done(stage, stage.tell("get", key=b"k"), "a get")
    stage.shut("n1")
    stage.listen("n1", stage.cast.old)
    done(stage, stage.tell("get", key=b"k", timeout_ms=_PATIENT_MS), "a get")


@play("C35")
def no_node_at_first(stage: Stage) -> None:
    """Something that is no ZeroMQ answers, twice; then the node is there."""
    stage.shut("n1")
    stage.ports["n1"] = free_port()
    stage.endpoints = [stage.address("n1")]
    stranger = socket.create_server((HOST, stage.ports["n1"]))
    stranger.setblocking(False)
    met: list[socket.socket] = []

    def has_been_met() -> bool:
        with suppress(BlockingIOError):
            met.append(stranger.accept()[0])
            met[-1].sendall(_GREETING)
        return len(met) >= 2

    try:
        number = stage.tell("get", key=b"k", timeout_ms=_PATIENT_MS)
        stage.run(has_been_met, 2.0)
        stage.run(lambda: False, 0.2)
    finally:
        for each in (*met, stranger):
            each.close()
    stage.listen("n1")
    done(stage, number, "a get")


@play("C36")
def a_dead_server_and_a_wrong_key(stage: Stage) -> None:
    dead, alive = free_port(), stage.ports["n1"]
    stage.shut("n1")
    stage.listen("n1", stage.cast.new)
    wrong = _words_of(stage, f"{HOST}:{alive}")
    stage.dismiss()
    words = _words_of(stage, f"{HOST}:{dead}")
    expect(words != wrong, f"of both it says {words!r}")
    expect(not stage.seen, "requests went to a server that proves another key")


def _words_of(stage: Stage, address: str) -> str:
    """Why a get was refused, without numbers: addresses and times say nothing here."""
    stage.endpoints = [address]
    error = rejected(stage, stage.tell("get", key=b"k", timeout_ms=2_000), f"a get of {address}")
    return re.sub(r"\d+", "", str(error.get("words")))


@play("C37")
def a_key_file_for_everybody(stage: Stage) -> None:
    stage.files = stage.cast.open_key
    rejected(stage, stage.tell("get", key=b"k", timeout_ms=1_500), "a get")
    expect(not stage.seen, "a key file that others can read was used")


# -- the end -------------------------------------------------------------------------------------
@play("C80")
def an_end_while_nobody_listens(stage: Stage) -> None:
    done(stage, stage.tell("put", key=b"k", value=b"v"), "a put")
    stage.react = first("get", 9, lambda _seen: SILENCE)
    number = stage.tell("get", key=b"k", timeout_ms=600)
    stage.run(lambda: bool(stage.asked("get")), 2.0)
    stage.shut("n1")
    rejected(stage, number, "a get without an answer")
    _end(stage)


@play("C81")
def a_session_is_closed(stage: Stage) -> None:
    done(stage, stage.tell("put", key=b"k", value=b"v"), "a put")
    _end(stage)
    expect(stage.asked("close_session"), "its session was left to expire")


def _end(stage: Stage) -> None:
    code = stage.end()
    if code is None:
        raise Broken("it did not end within 2 s of the end of its lines")
    expect(code == 0, f"it ended with {code}")
