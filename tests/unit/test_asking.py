"""Questions to the leader at a gateway: who may ask, what is asked again, what an answer means."""

from typing import Any

import msgpack
import pytest

from actors.admission import Principal
from dkv.errors import Code
from dkv.messages import Ask, Propose, Roster, Told
from dkv.raft.questions import Question, unpack
from dkv.requests import TABLE, Malformed, Role, pack_command
from tests.unit.front import TTL_US, Front

LEAD = [op for op, row in TABLE.items() if row.edge == "lead"]
REMOVE = pack_command("member_remove", name="n2")
LIST = pack_command("member_list")


def verify(text: bytes, user: str, _wall_s: int) -> Principal:
    """A certificate here is `name:role:key`; a node's principal is a guest that is a node."""
    name, role, key = text.decode().split(":")
    assert key == user
    if role == "node":
        return Principal(name, Role.GUEST, 2**40, True, b"curve", text)
    return Principal(name, Role[role.upper()], 2**40)


def front(role: str, name: str = "n4") -> Front:
    """A secured one, to which somebody of this role has presented itself with the key `k`."""
    made = Front(secure=True)
    made.admission._verify = verify
    made.present(name, role, "k")
    return made


def ask(made: Front, command: bytes, **header: Any) -> Ask:
    made.command(command, header, user="k")
    (letter,) = made.inside
    made.inside.clear()
    assert isinstance(letter, Ask)
    return letter


def question(made: Front, command: bytes) -> Question:
    return unpack(ask(made, command).question)


def told(made: Front, batch: int, code: Code, answer: Any, applied: str = "no") -> None:
    made.handle(Told(batch, code, msgpack.packb(answer), applied))


# -- who may ask ---------------------------------------------------------------------------------
@pytest.mark.parametrize("op", LEAD)
@pytest.mark.parametrize("role", ["reader", "writer", "admin", "node"])
def test_readers_may_look_admins_change_and_nodes_join(op: str, role: str) -> None:
    made = front(role)
    fields = {f.name: {str: "n4", int: 7}[f.type] for f in TABLE[op].fields if f.required}
    made.command(pack_command(op, **fields), user="k")
    allowed = {"member_list": ("reader", "writer", "admin"), "join": ("node", "admin")}
    if role in allowed.get(op, ("admin",)):
        assert [type(letter) for letter in made.inside] == [Ask]
    else:
        assert made.error() == ("denied", "no")


@pytest.mark.parametrize(
    "command",
    [
        pack_command("put", key=b"k", value=b"v"),
        pack_command("get", key=b"k"),
        pack_command("status"),
        pack_command("members"),
        pack_command("open_session"),
        pack_command("join", name="n5", disk=7),
    ],
)
def test_a_nodes_certificate_does_nothing_else_not_even_join_as_another(command: bytes) -> None:
    made = front("node")
    made.command(command, user="k")
    assert "it may only join" in made.replies[0][1]["error"]["words"]
    assert made.error() == ("denied", "no")


@pytest.mark.parametrize(("role", "given"), [("node", True), ("admin", True), ("writer", False)])
def test_introductions_are_for_nodes_and_admins(role: str, given: bool) -> None:
    made = front(role)
    members = (("n1", "h:1", b"K1", "h:2"), ("n9", "h:9", b"K9", ""))
    made.handle(Roster(members, ("n9",)))
    made.command(pack_command("introduce"), user="k")
    if not given:
        assert made.error() == ("denied", "no")
        return
    ((_client, body),) = made.replies
    found = body["result"]
    assert (found["authority"], found["names"]) == (b"authority", ["n1", "n2", "n3"])
    assert found["limits"] == made.limits._asdict()
    assert found["members"] == [
        {"name": "n1", "peer_address": "h:1", "client_address": "h:2", "key": b"K1"}
    ]


# -- what is asked -------------------------------------------------------------------------------
def test_a_node_joins_with_the_key_and_certificate_it_came_with() -> None:
    asked = question(front("node"), pack_command("join", name="n4", disk=7, peer_address="h:1"))
    assert (asked.op, asked.name, asked.key) == ("join", "n4", b"curve")
    assert asked.certificate == b"n4:node:k"
    where = {"peer_address": "h:1", "client_address": ""}
    assert asked.fields == {"name": "n4", "disk": 7, "level": 1, **where}


def test_an_update_carries_the_key_of_the_certificate_that_it_names() -> None:
    made = front("admin", "ann")
    asked = question(made, pack_command("member_update", name="n2", certificate=b"text"))
    assert (asked.name, asked.key, asked.certificate) == ("ann", b"n2", b"text")


def test_a_certificate_that_is_not_sound_is_refused_before_anybody_is_asked() -> None:
    made = front("admin")

    def refuse(_text: bytes, name: str, _wall_s: int) -> bytes:
        raise Malformed(Code.CERTIFICATE_REFUSED, f"not {name}'s")

    made.gateway._read_key = refuse
    made.command(pack_command("member_update", name="n2", certificate=b"text"), user="k")
    assert made.error() == ("certificate_refused", "no")


@pytest.mark.parametrize("op", ["member_add", "member_update", "join"])
@pytest.mark.parametrize("field", ["peer_address", "client_address"])
@pytest.mark.parametrize("address", ["nonsense", "h:0", "h:65536", ":1", "a b:1", "::1:5"])
def test_an_address_that_no_member_could_read_is_never_agreed_on(
    op: str, field: str, address: str
) -> None:
    made = front("admin")
    fields: dict[str, Any] = {"name": "n4", field: address}
    fields |= {"disk": 7} if op == "join" else {}
    made.command(pack_command(op, **fields), user="k")
    assert made.error() == ("bad_request", "no")


def test_an_address_is_agreed_on_as_members_write_it() -> None:
    asked = question(
        front("admin"), pack_command("member_add", name="n4", peer_address="tcp://h:1")
    )
    assert asked.fields["peer_address"] == "h:1"


# -- what is asked again, and what an answer means -----------------------------------------------
@pytest.mark.parametrize("code", [Code.NO_LEADER, Code.NOT_LEADER, Code.CHANGE_PENDING])
def test_what_may_pass_is_asked_again_until_the_deadline_and_then_did_not_happen(
    code: Code,
) -> None:
    made = front("admin")
    letter = ask(made, REMOVE)
    rounds = 0
    while made.now_us < 2 * TTL_US and not made.replies:
        told(made, letter.batch, code, "not now")
        made.wait(60_000)
        if made.inside:
            (letter,) = made.inside
            made.inside.clear()
            rounds += 1
    assert rounds > 10
    assert "not now" in made.replies[0][1]["error"]["words"]
    assert made.error() == (code.name.lower(), "no")


def test_the_time_that_is_left_is_told_anew() -> None:
    made = front("admin")
    first = ask(made, REMOVE)
    told(made, first.batch, Code.NOT_LEADER, "")
    made.wait(60_000)
    (again,) = made.inside
    assert (first.ttl_ms, again.question) == (5_000, first.question)
    assert 4_900 <= again.ttl_ms < 5_000


def test_a_question_waits_while_no_leader_is_known() -> None:
    made = front("admin")
    told(made, ask(made, REMOVE).batch, Code.NO_LEADER, "")
    made.lead("")
    made.wait(1_000_000)
    assert (made.inside, made.replies) == ([], [])
    made.lead("n2", 2)
    made.wait(60_000)
    assert [type(letter) for letter in made.inside] == [Ask]


@pytest.mark.parametrize(
    ("code", "applied"), [(Code.NO_SUCH_MEMBER, "no"), (Code.QUORUM_AT_RISK, "no")]
)
def test_a_refusal_that_no_waiting_changes_is_passed_on_at_once(code: Code, applied: str) -> None:
    made = front("admin")
    told(made, ask(made, REMOVE).batch, code, "words", applied)
    assert "words" in made.replies[0][1]["error"]["words"]
    assert made.error() == (code.name.lower(), applied)
    made.wait(2 * TTL_US)
    assert (made.replies, made.inside) == ([], [])


def test_a_change_that_may_have_been_made_is_not_asked_again() -> None:
    made = front("admin")
    told(made, ask(made, REMOVE).batch, Code.NOT_LEADER, "", "unknown")
    made.wait(TTL_US)
    assert made.error() == ("not_leader", "unknown")


@pytest.mark.parametrize(("command", "applied"), [(REMOVE, "unknown"), (LIST, "no")])
def test_a_lost_answer_leaves_a_change_unknown_and_a_look_undone(
    command: bytes, applied: str
) -> None:
    made = front("admin")
    ask(made, command)
    made.wait(2 * TTL_US)
    assert made.error()[1] == applied


def test_an_answer_is_given_once_and_late_ones_are_dropped() -> None:
    made = front("admin")
    letter = ask(made, LIST)
    told(made, letter.batch, Code.OK, {"leader": "n1"}, "yes")
    told(made, letter.batch, Code.OK, {"leader": "n2"}, "yes")
    told(made, 99, Code.OK, {}, "yes")
    ((_client, body),) = made.replies
    assert (body["result"], body["revision"]) == ({"leader": "n1"}, 0)


@pytest.mark.parametrize("junk", [b"", b"\xc1", b"\x01", b"\x93\x01", b"\xa1x", b"\x90"])
@pytest.mark.parametrize("code", [Code.OK, Code.NO_SUCH_MEMBER, 9_999])
def test_an_answer_that_is_not_understood_harms_nobody(junk: bytes, code: int) -> None:
    made = front("admin")
    made.handle(Told(ask(made, REMOVE).batch, code, junk, "yes"))
    assert made.error()[1] == "unknown"


def test_an_answer_that_names_what_was_no_question_changes_nothing() -> None:
    """A member's letter may name any batch: writes that wait in it are not its business."""
    made = Front()
    made.command(pack_command("put", key=b"k", value=b"v"))
    (batch,) = (letter.batch for letter in made.inside if isinstance(letter, Propose))
    told(made, batch, Code.OK, {})
    told(made, batch, Code.BAD_REQUEST, "no")
    told(made, 2**40, Code.OK, {})
    assert made.replies == []
