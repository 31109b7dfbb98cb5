"""Bad input at the ports of real nodes: whatever comes in, the cluster serves and stays as it was.

Each attack is one that its counter, or the end of its connection, proves to have arrived.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgpack
import pytest
import zmq

from dkv.entries import Kind
from dkv.frames import join, part
from dkv.limits import (
    FRAMES_MAX,
    MIB,
    REQUESTS_IN_FLIGHT_MAX,
    REQUESTS_PER_MESSAGE_MAX,
    TERM_MAX,
    ClusterLimits,
    client_frame_bytes_max,
    peer_frame_bytes_max,
)
from dkv.messages import Append, ReadAt, Refused, RequestVote, Saved, Stop, Trimmed, Write
from dkv.requests import PROTOCOL, pack_command
from dkv.security.z85 import z85
from tests.real.cluster import Cluster, free_ports
from tests.real.strangers import (
    Caller,
    Dealer,
    Thief,
    code_of,
    envelope_of,
    greeting,
    overhear,
    pair_of,
    plugs,
    send_all,
    wait_until,
    wait_until_closed,
)


class Site:
    """A cluster under attack. `target` is a follower; the other one's key was stolen."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.overheard = overhear(cluster, self.target)
        self.goods = 0

    @property
    def target(self) -> str:
        leader = self.cluster.leader()
        return next(n for n in self.cluster.names if n != leader)

    @property
    def thief(self) -> str:
        leader, target = self.cluster.leader(), self.target
        return next(n for n in self.cluster.names if n not in (leader, target))

    def facts(self, node: str) -> dict[str, Any]:
        with self.cluster.client(node) as kv:
            return kv.status()

    def counter(self, node: str, actor: str, name: str) -> int:
        return int(self.facts(node)[actor]["counters"].get(name, 0))

    def terms(self) -> dict[str, tuple[int, str]]:
        facts = {name: self.facts(name)["consensus"] for name in self.cluster.names}
        return {name: (f["term"], f["leader"]) for name, f in facts.items()}

    def ends(self) -> dict[str, tuple[int, int]]:
        facts = {name: self.facts(name)["consensus"] for name in self.cluster.names}
        return {name: (f["last"], f["commit"]) for name, f in facts.items()}

    def do_good(self) -> None:
        """A client that does nothing wrong writes, and reads at every node."""
        self.goods += 1
        value = b"%d" % self.goods
        with self.cluster.client() as kv:
            kv.put("good", value)
        for name in self.cluster.names:
            with self.cluster.client(name) as kv:
                item = kv.get("good")
                assert item is not None
                assert item.value == value

    @contextmanager
    def unharmed(self, *, same_leader: bool = True) -> Iterator[None]:
        """Good clients are served, and term, leader, logs and processes are as before."""
        self.do_good()
        terms, ends = self.terms(), self.ends()
        yield
        self.do_good()
        assert self.terms() == terms or not same_leader
        for name, (last, commit) in self.ends().items():
            assert last >= ends[name][0], "an entry was cut off"
            assert commit >= ends[name][1]
        for name, process in self.cluster.processes.items():
            assert process.poll() is None, f"{name} has ended"
            assert "Traceback" not in self.cluster.lines(name)
            assert not list((self.cluster.folder / name).glob("crash-*"))

    @contextmanager
    def counted(self, node: str, actor: str, name: str, times: int = 1) -> Iterator[None]:
        """It arrives, and is counted under this name."""
        before = self.counter(node, actor, name)
        yield
        wait_until(lambda: self.counter(node, actor, name) >= before + times, f"{node}: {name}")

    def steal(self, target: str) -> Thief:
        """Whoever has the other follower's key, and writes as it does."""
        name = self.thief
        return Thief(self.cluster, name, target, envelope_of(self.cluster, name, self.overheard))

    def ports(self) -> list[int]:
        """Both doors of a node."""
        return [self.cluster.clients[self.target], self.cluster.peers[self.target]]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Three secured nodes that serve, the same for all tests here."""
    with Cluster(tmp_path_factory.mktemp("bad") / "cluster") as started:
        started.start()
        started.wait_serving()
        yield Site(started)


# -- messages of clients -------------------------------------------------------------------------
@pytest.mark.parametrize("who", ["admin", ""], ids=["admin", "guest"])
def test_row_02_a_frame_beyond_the_limit_ends_the_connection(site: Site, who: str) -> None:
    huge = bytes(client_frame_bytes_max(ClusterLimits()) + 1)
    with site.unharmed(), Caller(site.cluster, site.target, who) as caller:
        caller.say(PROTOCOL, b"id", huge)
        caller.wait_for_the_end()


def test_row_02_a_members_frame_beyond_the_limit_ends_the_connection(site: Site) -> None:
    with site.unharmed(), site.steal(site.target) as thief:
        thief.say(bytes(peer_frame_bytes_max(ClusterLimits()) + 1))
        thief.wait_for_the_end()


def test_row_03_many_small_frames_are_dropped(site: Site) -> None:
    name = "messages_with_too_many_frames"
    with (
        site.unharmed(),
        Caller(site.cluster, site.target, "admin") as caller,
        site.steal(site.target) as thief,
    ):
        with site.counted(site.target, "gateway", name, 2):
            caller.say(*[b"x"] * (FRAMES_MAX + 1))
            caller.say(*[bytes(900)] * 10_000)
        with site.counted(site.target, "consensus", name):
            thief.say(*[bytes(900)] * 200)
        with site.counted(site.target, "consensus", "peer_frames_malformed"):
            thief.say(b"one", b"two")
        assert code_of(caller.ask("get", key=b"good")) == "ok"


def test_row_04_junk_in_sound_frames_is_answered_or_dropped(site: Site) -> None:
    junk = [b"", b"\xc1", b"\x80", b"\x90", b"\xdd\xff\xff\xff\xff", b"\xc7\xff\x01", b"\x81\x01"]
    with site.unharmed(), Caller(site.cluster, site.target, "admin") as caller:
        for body in junk:
            caller.say(PROTOCOL, b"id", body)
            assert code_of(caller.hear()[1]) == "bad_request"
        with site.counted(site.target, "gateway", "client_frames_malformed", 3):
            caller.say(b"GET / HTTP/1.1")
            caller.say(b"DKV9", b"id", b"\x80")
            caller.say(PROTOCOL, bytes(33), b"\x80")
    with site.unharmed(), site.steal(site.target) as thief:
        with site.counted(site.target, "consensus", "peer_frame_unreadable", 2):
            thief.say(b"\xc1")
            thief.say(b"\xdd\xff\xff\xff\xff")
        with site.counted(site.target, "consensus", "peer_letter_version"):
            thief.say(b"\x80")


# -- a member that lies --------------------------------------------------------------------------
HUGE_VOTE = RequestVote(TERM_MAX, 2**40, TERM_MAX)
ENVELOPES = [
    ({"cluster": bytes(16)}, "peer_of_another_cluster"),
    ({"genesis": bytes(8)}, "peer_of_another_cluster"),
    ({"to_disk": 1}, "letter_for_another_disk"),
    ({"to_boot": 1}, "letter_for_another_boot"),
    ({"name": "n9"}, "peer_name_forged"),
    ({"disk": 0}, "peer_envelope_malformed"),
    ({"formed": b"\1" * 8}, "letter_of_another_formation"),
    ({"disk": 1, "formed": b"\1" * 8}, "peer_disk_replaced"),
]


@pytest.mark.parametrize(("changes", "counter"), ENVELOPES, ids=[str(c) for c, _n in ENVELOPES])
def test_rows_16_and_17_a_letter_that_is_wrongly_addressed_moves_no_term(
    site: Site, changes: dict[str, Any], counter: str
) -> None:
    with site.unharmed():
        for target in (site.target, site.cluster.leader()):
            with site.steal(target) as thief, site.counted(target, "consensus", counter):
                thief.post(HUGE_VOTE, **changes)


def test_row_17_a_member_cannot_speak_in_the_leaders_name(site: Site) -> None:
    leader = site.cluster.leader()
    disk = site.facts(leader)["consensus"]["disk"]
    term = site.facts(leader)["consensus"]["term"] + 1
    lie = Append(term, 1, 0, bytes(8), (), 2**40, 0, 2**40)
    with (
        site.unharmed(),
        site.steal(site.target) as thief,
        site.counted(site.target, "consensus", "peer_name_forged"),
    ):
        thief.post(lie, name=leader, disk=disk)


def test_row_18_a_term_beyond_all_elections_is_dropped(site: Site) -> None:
    letters = (RequestVote(2**62, 2**40, 2**62), Append(2**62, 1, 1, bytes(8), (), 1, 0, 0))
    with site.unharmed():
        for target in (site.target, site.cluster.leader()):
            with site.steal(target) as thief, site.counted(target, "consensus", "terms_absurd", 2):
                thief.post(*letters)


def test_row_18_a_candidate_of_a_huge_term_deposes_nobody_who_is_heard(site: Site) -> None:
    counter = "votes_ignored_under_a_leader"
    with site.unharmed():
        for target in (site.target, site.cluster.leader()):
            with site.steal(target) as thief, site.counted(target, "consensus", counter):
                thief.post(HUGE_VOTE)


def test_row_19_malformed_appends_cut_nothing_and_move_no_term(site: Site) -> None:
    """Also under a newer term than the cluster's."""
    term = site.facts(site.target)["consensus"]["term"]

    def row(of: int) -> tuple[int, int, int, int, bytes]:
        return (of, Kind.COMMANDS, 0, 0, b"evil")

    for newer in (0, 5):
        now = term + newer
        incoherent = [
            Append(now, 0, 0, bytes(8), (row(now),), 2**40, 0, 0),
            Append(now, 2, now, bytes(8), (row(now), row(now - 1)), 2**40, 0, 0),
            Append(now, 2, now, bytes(8), (row(now + 1),), 2**40, 0, 0),
            Append(now, 2, now + 1, bytes(8), (), 2**40, 0, 0),
        ]
        with (
            site.unharmed(),
            site.steal(site.target) as thief,
            site.counted(site.target, "consensus", "appends_incoherent", len(incoherent)),
        ):
            thief.post(*incoherent)


def test_row_19_fields_of_another_type_or_range_are_no_letter(site: Site) -> None:
    term = site.facts(site.target)["consensus"]["term"]
    sound = Append(term, 2, term, bytes(8), (), 0, 0, 0)
    lies: list[dict[str, Any]] = [
        {"prev_index": -1},
        {"commit": 2**63},
        {"term": "7"},
        {"rows": ((term, 1, 0, 0),)},
        {"rows": None},
    ]
    with (
        site.unharmed(),
        site.steal(site.target) as thief,
        site.counted(site.target, "consensus", "peer_letter_malformed", len(lies)),
    ):
        for lie in lies:
            thief.post(sound._replace(**lie))


def test_what_only_a_nodes_own_actors_may_say_is_no_letter_of_a_member(site: Site) -> None:
    evil = (Saved(2**40), Write(2**40, 1, (), 2**40, 0, 0, ()), Trimmed(2**40, 1, b""), Stop())
    with (
        site.unharmed(),
        site.steal(site.target) as thief,
        site.counted(site.target, "consensus", "peer_letter_unknown", len(evil)),
    ):
        for letter in evil:
            thief.post(letter)


def test_row_24_answers_that_nobody_asked_for_are_dropped(site: Site) -> None:
    with site.unharmed(), site.steal(site.target) as thief:
        seen = site.counter(site.target, "consensus", "letters")
        thief.post(ReadAt(2**60, 2**60), Refused(2**60, 30))
        wait_until(lambda: site.counter(site.target, "consensus", "letters") > seen, "arrival")


# -- sessions ------------------------------------------------------------------------------------
def test_row_21_a_replayed_request_has_the_same_answer_and_one_effect(site: Site) -> None:
    with site.unharmed(), Caller(site.cluster, site.target, "writer") as caller:
        session = caller.ask("open_session")["result"]["session"]
        place = {"session": session, "sequence": 1, "lowest": 1}
        first = caller.ask("put", place, key=b"replayed", value=b"once")
        again = caller.ask("put", place, key=b"replayed", value=b"once")
        assert first == again
        assert caller.ask("get", key=b"replayed")["result"]["version"] == 1
        reused = caller.ask("put", place, key=b"replayed", value=b"twice")
        assert code_of(reused) == "sequence_reused"
        place = {"session": session, "sequence": 2, "lowest": 2}
        assert code_of(caller.ask("put", place, key=b"replayed", value=b"twice")) == "ok"
        place = {"session": session, "sequence": 1, "lowest": 1}
        assert code_of(caller.ask("put", place, key=b"replayed", value=b"once")) == "stale"
        assert caller.ask("get", key=b"replayed")["result"]["value"] == b"twice"


def test_row_22_anothers_session_is_denied(site: Site) -> None:
    with (
        site.unharmed(),
        Caller(site.cluster, site.target, "writer") as owner,
        Caller(site.cluster, site.target, "admin") as other,
    ):
        session = owner.ask("open_session")["result"]["session"]
        place = {"session": session, "sequence": 1, "lowest": 1}
        for op, fields in (("put", {"key": b"theirs", "value": b"x"}), ("close_session", {})):
            assert code_of(other.ask(op, place, **fields)) == "denied"
        assert code_of(owner.ask("put", place, key=b"theirs", value=b"mine")) == "ok"
        assert owner.ask("get", key=b"theirs")["result"]["value"] == b"mine"


# -- connections ---------------------------------------------------------------------------------
def test_row_23_a_second_connection_with_a_routing_id_does_not_disturb_the_first(
    site: Site,
) -> None:
    same = [(zmq.ROUTING_ID, b"twin")]
    with (
        site.unharmed(),
        Caller(site.cluster, site.target, "writer", options=same) as first,
        Caller(site.cluster, site.target, options=same) as second,
    ):
        for number in range(50):
            second.say(PROTOCOL, b"second", b"\x80")
            reply = first.ask("put", key=b"twin", value=b"%d" % number)
            assert code_of(reply) == "ok"


def test_row_24_a_client_takes_only_the_answer_to_what_it_asked(site: Site) -> None:
    """A server that holds the true key, and answers with noise before it answers."""
    (port,) = free_ports(1)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    liar = context.socket(zmq.ROUTER)
    liar.set(zmq.LINGER, 500)
    liar.set(zmq.CURVE_SERVER, 1)
    liar.set(zmq.CURVE_SECRETKEY, z85(pair_of(site.cluster, "server").secret))
    liar.bind(f"tcp://127.0.0.1:{port}")
    answering = threading.Thread(target=_lie, args=(liar,))
    answering.start()
    site.cluster.clients["liar"], site.cluster.hosts["liar"] = port, "127.0.0.1"
    try:
        with site.cluster.client("liar", timeout=3.0) as kv:
            item = kv.get("k")
            assert item is not None
            assert item.value == b"true"
    finally:
        del site.cluster.clients["liar"]
        answering.join()
        context.destroy(500)


def _lie(liar: "zmq.Socket[bytes]") -> None:
    def found(value: bytes) -> bytes:
        result = {"found": True, "value": value, "key_revision": 1, "created": 1, "version": 1}
        packed = {**result, "author": "x", "wall": 0}
        return bytes(msgpack.packb({"result": packed, "revision": 1, "node": "liar"}))

    while liar.poll(3_000):
        client, frame = liar.recv_multipart()
        parts = part(frame)
        assert parts is not None
        request_id, body = parts
        if msgpack.unpackb(msgpack.unpackb(body)["command"])["op"] != "get":
            continue
        for other in (b"", b"nobody asked", bytes(8), b"\xff" * 8):
            liar.send_multipart([client, join(other, found(b"false"))])
        for frames in (
            *((b"",), (PROTOCOL,), (b"DKV9" + join(request_id, found(b"false"))[4:],)),
            *((PROTOCOL, b"x", found(b"false")), (found(b"false"),), (PROTOCOL + b"\xff",)),
        ):
            liar.send_multipart([client, *frames])
        for junk in (b"", b"\xc1", b"\x01", b"\x93", b"\x80"):
            liar.send_multipart([client, join(request_id, junk)])
            liar.send_multipart([client, join(b"", junk)])
        burst = [7, {"id": request_id}, {"id": b"?", "result": {}}, {"result": {}}]
        for other in (b"", request_id):
            liar.send_multipart([client, join(other, msgpack.packb(burst))])
        liar.send_multipart([client, join(request_id, found(b"true"))])
        return


def flood(site: Site, listed: int) -> set[str]:
    """More puts than a gateway holds, `listed` in a message; the codes of their answers. Each has
    one, or it is counted as dropped where the connection is full."""
    node, messages = site.cluster.leader(), 5 * REQUESTS_IN_FLIGHT_MAX // 4 // listed
    put = {"command": pack_command("put", key=b"flood", value=b"x"), "ttl_ms": 5_000}
    body = msgpack.packb([put] * listed)
    unbounded = [(zmq.RCVHWM, 0), (zmq.SNDHWM, 0)]
    codes: list[str] = []

    def dropped() -> int:
        return site.counter(node, "gateway", "replies_dropped_client_slow")

    with Caller(site.cluster, node, "writer", options=unbounded) as caller:
        before = dropped()
        for number in range(messages):
            caller.say(PROTOCOL, b"%d" % number, body)
        site.do_good()

        def is_settled() -> bool:
            while caller.socket.poll(0):
                codes.append(code_of(caller.hear()[1]))
            return len(codes) + dropped() - before >= messages * listed

        wait_until(is_settled, "an end to each request")
    return set(codes)


@pytest.mark.parametrize("listed", [1, REQUESTS_PER_MESSAGE_MAX])
def test_row_25_a_flood_is_answered_or_refused_and_others_are_served(
    site: Site, listed: int
) -> None:
    with site.unharmed(same_leader=False):
        codes = flood(site, listed)
        assert "ok" in codes
        assert codes <= {"ok", "busy", "timeout"}  # where answers keep pace, none is refused


@pytest.mark.skipif("DKV_LONG" not in os.environ, reason="make test-long: it takes both cores")
@pytest.mark.parametrize("listed", [1, REQUESTS_PER_MESSAGE_MAX])
def test_row_25_a_flood_moves_no_leader(site: Site, listed: int) -> None:
    with site.unharmed():
        flood(site, listed)


def test_row_26_replies_that_nobody_reads_are_dropped_in_the_end(site: Site) -> None:
    node, counter = site.cluster.leader(), "replies_dropped_client_slow"
    options = [(zmq.RCVHWM, 1), (zmq.RCVBUF, 4_096)]
    get = msgpack.packb({"command": pack_command("get", key=b"large")})
    with site.unharmed(), Caller(site.cluster, node, "writer", options=options) as caller:
        assert code_of(caller.ask("put", key=b"large", value=bytes(8_192))) == "ok"
        before = site.counter(node, "gateway", counter)

        def ask_more() -> bool:
            for _ in range(250):
                caller.say(PROTOCOL, b"id", get)
            return site.counter(node, "gateway", counter) > before

        wait_until(ask_more, "a reply that does not fit")


def test_a_burst_for_a_connection_that_is_gone_is_dropped_and_counted(site: Site) -> None:
    """The answer to `members`, which is given at once, says that the puts before it have arrived;
    theirs takes a sync, and finds nobody."""
    node, counter = site.cluster.leader(), "replies_dropped_client_gone"
    put = {"command": pack_command("put", key=b"gone", value=b"x"), "burst": True}
    with site.unharmed():
        before = site.counter(node, "gateway", counter)

        def ask_and_leave() -> bool:
            with Caller(site.cluster, node, "writer") as caller:
                caller.say(PROTOCOL, b"burst", msgpack.packb([put] * 500))
                assert code_of(caller.ask("members")) == "ok"
            return site.counter(node, "gateway", counter) > before

        wait_until(ask_and_leave, "a burst for nobody")


NO_ZEROMQ = {
    "random": bytes((7 * i * i + 13 * i) % 251 for i in range(4_096)),
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 20,
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(512),
}


@pytest.mark.parametrize("words", NO_ZEROMQ.values(), ids=NO_ZEROMQ)
def test_row_27_what_speaks_another_protocol_is_hung_up_on(site: Site, words: bytes) -> None:
    with site.unharmed(), plugs(site.ports()) as opened:
        for plug in opened:
            send_all(plug, words)
        site.do_good()
        assert all(wait_until_closed(plug) <= 256 for plug in opened)


CURVE = greeting(b"CURVE")
SILENT = {
    "nothing": b"",
    "half a greeting": CURVE[:11],
    "a greeting": CURVE,
    "a command's head": CURVE + b"\4\xc8\5HELLO",
}


@pytest.mark.parametrize("words", SILENT.values(), ids=SILENT)
def test_row_28_who_stops_in_the_handshake_is_hung_up_on(site: Site, words: bytes) -> None:
    """How many may do so at a time is for a firewall to say: libzmq has no limit an address."""
    with site.unharmed(), plugs(site.ports(), count=10) as opened:
        for plug in opened:
            send_all(plug, words)
        site.do_good()
        assert all(wait_until_closed(plug) <= 256 for plug in opened)


def test_row_28_who_trickles_its_greeting_is_hung_up_on(site: Site) -> None:
    with site.unharmed(), plugs(site.ports()) as opened:
        site.do_good()
        waiting = [
            threading.Thread(target=wait_until_closed, args=(plug, CURVE[:11] + b"\0" * 10_000))
            for plug in opened
        ]
        for thread in waiting:
            thread.start()
        for thread in waiting:
            thread.join()


def test_row_29_a_command_of_a_gigabyte_is_hung_up_on(site: Site) -> None:
    with site.unharmed(), plugs(site.ports()) as opened:
        for plug in opened:
            send_all(plug, CURVE + b"\6" + MIB.to_bytes(5) + bytes(3) + b"\5HELLO")
            send_all(plug, bytes(64 * MIB))
        assert all(wait_until_closed(plug) <= 256 for plug in opened)


OTHER_GREETINGS = {
    "ZMTP 1.0": b"\x01\x00" * 40,
    "ZMTP 2.0": b"\xff" + bytes(8) + b"\x7f\x01\x05" + b"\x00\x00" * 40,
    "NULL": greeting(b"NULL") + b"\4\x19\5READY\x0bSocket-Type\0\0\0\6DEALER",
    "PLAIN": greeting(b"PLAIN") + b"\4\x08\5HELLO\0\0",
    "no mechanism": greeting(b""),
    "two mechanisms": greeting(b"CURVE NULL"),
}


@pytest.mark.parametrize("words", OTHER_GREETINGS.values(), ids=OTHER_GREETINGS)
def test_row_30_an_older_protocol_or_another_mechanism_is_hung_up_on(
    site: Site, words: bytes
) -> None:
    with site.unharmed(), plugs(site.ports()) as opened:
        for plug in opened:
            send_all(plug, words)
        assert all(wait_until_closed(plug) <= 256 for plug in opened)


def test_row_31_who_shakes_hands_and_leaves_again_and_again_is_borne(site: Site) -> None:
    """How often it may do so is for a firewall to say."""
    with site.unharmed():
        for _ in range(50):
            with Caller(site.cluster, site.target) as caller:
                assert caller.is_let_in()
        site.do_good()


def test_a_guest_that_goes_on_is_not_heard_and_others_are(site: Site) -> None:
    with (
        site.unharmed(),
        Caller(site.cluster, site.target) as guest,
        site.counted(site.target, "gateway", "guests_unheard"),
    ):
        for _ in range(100):
            guest.say(PROTOCOL, b"id", b"\x80")
        site.do_good()


def test_a_node_that_is_attacked_at_all_its_doors_still_stops_in_order(site: Site) -> None:
    """Last: half-open connections, guests and floods keep nobody from stopping."""
    node = site.target
    with (
        plugs(site.ports(), count=5) as opened,
        Caller(site.cluster, node) as guest,
        Dealer(site.cluster.peers[node]),
    ):
        for plug in opened:
            send_all(plug, CURVE)
        guest.say(PROTOCOL, b"id", b"\x80")
        assert site.cluster.stop(node) == {node: 0}
    site.cluster.start(node)
    site.cluster.wait_serving(node)
