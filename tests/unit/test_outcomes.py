"""The line about a slow request, and lines for programs."""

import json

import pytest

from actors.admission import Admission
from actors.announcer import Announcer
from actors.gateway import Gateway
from dkv.address import Local
from dkv.counters import Counters
from dkv.errors import Code
from dkv.kv.sessions import pack_answer
from dkv.limits import MS
from dkv.messages import Applied, Led, Say, Stop
from dkv.requests import pack_command
from tests.unit.front import FOUNDING, Front, no_key

OK = pack_answer(Code.OK, 5, {})


class SlowFront(Front):
    """Requests of more than 100 ms are slow; what is said is kept."""

    def __init__(self) -> None:
        super().__init__()
        counters = Counters()
        self.gateway = Gateway(
            *("n1", self.limits, Admission(self.limits, None, "", counters), dict, counters),
            *(FOUNDING, no_key),
            slow_us=100 * MS,
        )
        self.said: list[Say] = []
        self.gateway_handle, self.gateway.handle = self.gateway.handle, self._listen  # type: ignore
        self.handle(Led(1, "n1", True, ()))
        self.said.clear()

    def _listen(self, batch, now):  # type: ignore[no-untyped-def]
        out = self.gateway_handle(batch, now)
        self.said += [letter for to, letter in out if to is Local.SHELL]
        return out


def test_a_slow_put_is_told_with_its_stages_and_neither_key_nor_value() -> None:
    front = SlowFront()
    front.put(b"the-key", b"the-value")
    number = front.posted().batch
    taken_us = front.now_us + 150 * MS
    front.now_us += 180 * MS
    front.handle(Applied(number, 9, ((0, 0, OK),), taken_us))
    (say,) = front.said
    assert (say.severity, say.reason, say.request_id) == ("warning", "slow_request", b"1")
    assert say.words == (
        "put by insecure took 180 ms and ended with ok: 0 ms at the gateway, "
        "150 ms waiting for the commit, 30 ms in the state machine"
    )
    assert front.gateway.outcomes.slow == 1


def test_one_that_waited_for_a_leader_until_its_end_is_told_so() -> None:
    front = SlowFront()
    front.lead("", 2)
    front.put(b"the-key", b"the-value", {"ttl_ms": 400})
    front.wait(500 * MS)
    (say,) = [s for s in front.said if s.reason == "slow_request"]
    assert "ended with no_leader: 4" in say.words
    assert say.words.endswith("ms at the gateway")


def test_a_quick_one_is_not_told_and_many_slow_ones_are_one_line_a_second() -> None:
    front = SlowFront()
    for took_ms in (100, 101, 102, 103, 1_000):
        front.put(b"k", b"v")
        number = front.posted().batch
        front.now_us += took_ms * MS
        front.handle(Applied(number, 9, ((0, 0, OK),), front.now_us))
    first, last = front.said
    assert "took 101 ms" in first.words
    assert last.words.endswith("(and 2 more since the last such line)")


def test_a_line_for_programs_is_an_object_with_fixed_fields(
    capsys: pytest.CaptureFixture[str],
) -> None:
    announcer = Announcer("n1", "info", "json")
    announcer.say("info", "leader", 'n2 "leads"\x1b', 1_700_000_000.25)
    announcer.say("info", "leader", "n3 leads", 1_700_000_000.5)  # left out
    announcer.say("warning", "slow_request", "put", 1_700_000_001.0, b"\x00\xff")
    announcer.say("debug", "quiet", "below the level", 1_700_000_002.0)
    announcer.say("info", "leader", "n1 leads", 1_700_000_003.0)
    first, second, third = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert first == {
        "ts": "2023-11-14T22:13:20.250Z",
        "level": "info",
        "node": "n1",
        "reason": "leader",
        "message": 'n2 "leads"\\x1b',
    }
    assert second["request_id"] == "00ff"
    assert third["message"] == "n1 leads (and 1 more like this)"


def test_a_line_for_people_names_the_request(capsys: pytest.CaptureFixture[str]) -> None:
    Announcer("n1", "info").say("warning", "slow_request", "put", 1_700_000_001.0, b"\x00\xff")
    shown = capsys.readouterr().err
    assert shown == "2023-11-14T22:13:21.000Z n1 warning slow_request: put [request 00ff]\n"


def test_a_tail_waits_on_purpose_and_is_not_slow() -> None:
    front = SlowFront()
    front.command(pack_command("tail", wait_ms=4_000))
    front.now_us += 3_000 * MS
    front.handle(Stop())
    assert (front.said, front.gateway.outcomes.slow) == ([], 0)
    assert front.gateway.outcomes.counts() == {("tail", "stopping"): 1}
