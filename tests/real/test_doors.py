"""Who may come in by which door, whom the cluster believes, and what everybody else is told."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq
from zmq.utils import z85

from actors.doorkeeper import Doorkeeper
from actors.doorprobe import Entrances, draw_key_pair, probe
from actors.mailbox import Context
from actors.port import CLIENT_DOMAIN, PEER_DOMAIN, KeyPair, Port
from cli.endings import Exit
from dkv.client import Client, Denied, Unavailable
from dkv.counters import Counters
from dkv.errors import DkvError, Ending, Fault
from dkv.ids import Address
from dkv.requests import PROTOCOL, TABLE, pack_command
from dkv.security.authority import DAY_S, Authority, create_authority
from dkv.security.certificate import Certificate
from dkv.security.files import replace_file, write_new
from dkv.security.identity import KIND
from dkv.security.refusal import CertificateError
from dkv.security.secrets import CurvePair, draw_curve_pair, write_secret
from dkv.security.trust import load_trust
from tests.real.cluster import Cluster, free_ports, issue
from tests.real.strangers import (
    Caller,
    Dealer,
    code_of,
    curve,
    pair_of,
    text_of,
    wait_until,
)

Files = dict[str, Any]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three secured nodes that serve, the same for all tests here."""
    with Cluster(tmp_path_factory.mktemp("doors") / "cluster") as started:
        started.start()
        started.wait_serving()
        yield started
        assert all(process.poll() is None for process in started.processes.values())
        assert not [n for n in started.names if "Traceback" in started.lines(n)]


@pytest.fixture(scope="module")
def others(cluster: Cluster) -> Authority:
    """Another authority, in a folder of its own; it knows a server key and no secret of ours."""
    folder = cluster.folder / "others"
    folder.mkdir()
    return create_authority(folder / "authority.key", None)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def files_of(folder: Path, who: str) -> Files:
    return {
        "cert": folder / f"{who}.cert",
        "key": folder / f"{who}.key",
        "cacert": folder / "trust",
    }


def lay_out(
    folder: Path, authority: Authority, server_key: bytes, client: Certificate, pair: CurvePair
) -> Files:
    """A client's three files, as this authority would give them."""
    folder.mkdir(exist_ok=True, parents=True)
    server = authority.certify("server", server_key, "server", now_ms(), 9)
    trust = authority.found(int(time.time()), 9)._replace(server_certificates=(server,))
    write_new(folder / "trust", trust.text, 0o644)
    write_new(folder / "me.cert", client.text, 0o644)
    write_secret(folder / "me.key", KIND, pair.secret, None)
    return files_of(folder, "me")


def told(endpoint: str, files: Files) -> DkvError:
    """What the library says when this fails."""
    with pytest.raises(DkvError) as caught, Client(endpoint, timeout=2.0, pin=True, **files) as kv:
        kv.get("k")
    return caught.value


def ctl(endpoint: str, files: Files, home: Path) -> tuple[int, str]:
    """`dkvctl get k`: (exit code, what it says on standard error)."""
    options = [f"--{name}={path}" for name, path in files.items()]
    options += [f"--endpoint={endpoint}", "--timeout=2"]
    done = subprocess.run(
        [sys.executable, "-m", "cli.ctl", *options, "--pin", "get", "k"],
        capture_output=True,
        text=True,
        check=False,
        env={k: v for k, v in os.environ.items() if not k.startswith("DKV")}
        | {"XDG_CONFIG_HOME": str(home)},
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


# -- four sentences ------------------------------------------------------------------------------
def test_a_wrong_server_key_is_its_own_sentence(
    cluster: Cluster, others: Authority, tmp_path: Path
) -> None:
    """The trust file of another cluster: its authority vouches for another server key."""
    pair = draw_curve_pair()
    mine = others.certify("anna", pair.public, "writer", now_ms(), 9)
    files = lay_out(tmp_path / "me", others, draw_curve_pair().public, mine, pair)
    (endpoint,) = cluster.endpoints("n1")
    error = told(endpoint, files)
    assert isinstance(error, Unavailable)
    assert "does not prove the server key of the trust file" in str(error)
    code, said = ctl(endpoint, files, tmp_path)
    assert code == Exit.UNAVAILABLE
    assert "does not prove the server key of the trust file" in said


def test_a_certificate_of_another_authority_is_its_own_sentence(
    cluster: Cluster, others: Authority, tmp_path: Path
) -> None:
    """The server key is right, so that the node itself judges the certificate."""
    pair = draw_curve_pair()
    mine = others.certify("anna", pair.public, "admin", now_ms(), 9)
    files = lay_out(tmp_path / "me", others, pair_of(cluster, "server").public, mine, pair)
    (endpoint,) = cluster.endpoints("n1")
    error = told(endpoint, files)
    assert isinstance(error, Denied)
    assert "not signed by this cluster's authority" in str(error)
    code, said = ctl(endpoint, files, tmp_path)
    assert code == Exit.DENIED
    assert "not signed by this cluster's authority" in said


def test_an_expired_certificate_is_its_own_sentence(cluster: Cluster, tmp_path: Path) -> None:
    """The library does not even try; a client without a library is told by the node."""
    pair, old = expired(cluster)
    server_key = pair_of(cluster, "server").public
    files = lay_out(tmp_path / "me", cluster.authority, server_key, old, pair)
    (endpoint,) = cluster.endpoints("n1")
    error = told(endpoint, files)
    assert isinstance(error, CertificateError)
    assert "expired on" in str(error)
    code, said = ctl(endpoint, files, tmp_path)
    assert code == Exit.DENIED
    assert "expired on" in said
    with Caller(cluster, "n1", pair=pair) as caller:
        reply = caller.present(old.text)
        assert code_of(reply) == "certificate_expired"
        assert "expired on" in reply["error"]["words"]
        assert code_of(caller.ask("get", key=b"k")) == "certificate_needed"


def expired(cluster: Cluster) -> tuple[CurvePair, Certificate]:
    pair = draw_curve_pair()
    then_ms = now_ms() - 9 * DAY_S * 1_000
    return pair, cluster.authority.certify("anna", pair.public, "admin", then_ms, 1)


def test_a_node_that_is_down_is_its_own_sentence(cluster: Cluster, tmp_path: Path) -> None:
    endpoint = f"127.0.0.1:{free_ports(1)[0]}"
    files = cluster.client_options()
    error = told(endpoint, files)
    assert isinstance(error, Unavailable)
    assert "nothing answers there" in str(error)
    code, said = ctl(endpoint, files, tmp_path)
    assert code == Exit.UNAVAILABLE
    assert "nothing answers there" in said


# -- who may do what -----------------------------------------------------------------------------
ALLOWED = {"admin": {"put", "get"}, "writer": {"put", "get"}, "reader": {"get"}}


@pytest.mark.parametrize("role", ALLOWED)
def test_a_role_allows_what_it_includes_and_no_more(cluster: Cluster, role: str) -> None:
    with Caller(cluster, "n1", role) as caller:
        replies = {
            "put": caller.ask("put", key=b"role", value=role.encode()),
            "get": caller.ask("get", key=b"role"),
        }
        assert {op for op, reply in replies.items() if code_of(reply) == "ok"} == ALLOWED[role]
        denied = {code_of(r) for op, r in replies.items() if op not in ALLOWED[role]}
        assert denied <= {"denied"}


def test_a_reader_is_told_what_it_lacks_by_the_library(cluster: Cluster) -> None:
    with cluster.client(who="reader") as kv:
        assert kv.count() >= 0
        with pytest.raises(Denied, match="reader has the role reader"):
            kv.put("k", "v")


def test_a_role_is_looked_at_in_each_message_of_a_list(cluster: Cluster) -> None:
    with Caller(cluster, "n1", "reader") as caller:
        asked = [pack_command("get", key=b"role"), pack_command("put", key=b"role", value=b"x")]
        caller.say(PROTOCOL, b"list", msgpack.packb([{"command": c} for c in asked]))
        replies = [caller.hear()[1] for _ in asked]
        assert {r["position"]: code_of(r) for r in replies} == {0: "ok", 1: "denied"}


def test_a_guest_may_only_present_itself(cluster: Cluster) -> None:
    said = {}
    for op in TABLE:  # a guest each: one alone is not heard for so long
        with Caller(cluster, "n1") as guest:
            said[op] = code_of(guest.ask(op))
    assert said.pop("present") != "ok"
    assert set(said.values()) == {"certificate_needed"}


@pytest.mark.parametrize("who", ["admin", "n1", "server"])
def test_anothers_certificate_over_ones_own_key_is_refused(cluster: Cluster, who: str) -> None:
    with Caller(cluster, "n1") as guest:
        assert code_of(guest.present(text_of(cluster, who))) == "certificate_refused"
        assert code_of(guest.ask("get", key=b"k")) == "certificate_needed"


def test_the_certificate_of_a_server_is_no_clients(cluster: Cluster) -> None:
    with Caller(cluster, "n1", pair=pair_of(cluster, "server")) as caller:
        assert code_of(caller.present(text_of(cluster, "server"))) == "certificate_refused"
        assert code_of(caller.ask("get", key=b"k")) == "certificate_needed"


def test_the_certificate_of_a_node_may_only_join_it(cluster: Cluster) -> None:
    with Caller(cluster, "n1", pair=pair_of(cluster, "n2")) as caller:
        assert code_of(caller.present(text_of(cluster, "n2"))) == "ok"
        assert code_of(caller.ask("introduce")) == "ok"
        assert code_of(caller.ask("get", key=b"k")) == "denied"
        assert code_of(caller.ask("put", key=b"k", value=b"v")) == "denied"
        assert code_of(caller.ask("join", name="n3", disk=5)) == "denied"
        assert code_of(caller.ask("join", name="n2", disk=5)) == "another_disk"


def test_a_certificate_is_remembered_for_its_key_and_for_no_other(cluster: Cluster) -> None:
    with Caller(cluster, "n1", "admin"), Caller(cluster, "n1") as guest:
        assert code_of(guest.ask("get", key=b"k")) == "certificate_needed"
    with Caller(cluster, "n1", pair=pair_of(cluster, "admin")) as again:
        assert code_of(again.ask("get", key=b"k")) == "ok"


def test_a_routing_id_opens_no_door_and_steals_no_reply(cluster: Cluster) -> None:
    """A guest that takes an admin's routing id is turned away, and the admin hears its replies."""
    same = [(zmq.ROUTING_ID, b"the admin")]
    with (
        Caller(cluster, "n1", "admin", options=same) as admin,
        Caller(cluster, "n1", options=same) as spoofer,
    ):
        spoofer.say(b"DKV1", b"mine", b"\x80")
        for _ in range(20):
            assert code_of(admin.ask("get", key=b"k")) == "ok"
        while spoofer.socket.poll(0):
            _protocol, request_id, _body = spoofer.socket.recv_multipart()
            assert request_id == b"mine"


# -- doors of peers ------------------------------------------------------------------------------
def lets_in(cluster: Cluster, node: str, pair: CurvePair) -> bool:
    keys = curve(pair, pair_of(cluster, node).public)
    with Dealer(cluster.peers[node], keys) as dealer:
        return dealer.is_let_in()


def test_the_peer_port_takes_a_members_key(cluster: Cluster) -> None:
    assert lets_in(cluster, "n1", pair_of(cluster, "n2"))


@pytest.mark.parametrize("who", ["admin", "writer", "server", ""])
def test_the_peer_port_refuses_a_clients_and_a_strangers_key(cluster: Cluster, who: str) -> None:
    assert not lets_in(cluster, "n1", pair_of(cluster, who) if who else draw_curve_pair())


def test_the_peer_port_refuses_a_node_that_is_certified_and_no_member(cluster: Cluster) -> None:
    """Its certificate does not lie beside this node's."""
    pair = draw_curve_pair()
    cluster.authority.certify("n9", pair.public, "node", now_ms(), 9)
    assert not lets_in(cluster, "n1", pair)


PLAIN = [(zmq.PLAIN_USERNAME, b"admin"), (zmq.PLAIN_PASSWORD, b"admin")]


@pytest.mark.parametrize("options", [[], PLAIN], ids=["NULL", "PLAIN"])
@pytest.mark.parametrize("door", ["clients", "peers"])
def test_who_does_not_speak_curve_is_out(
    cluster: Cluster, door: str, options: list[tuple[int, Any]]
) -> None:
    with Dealer(getattr(cluster, door)["n1"], options) as dealer:
        assert not dealer.is_let_in()


def test_a_client_that_was_told_insecure_hears_that_it_needs_a_certificate(
    cluster: Cluster,
) -> None:
    error = told(cluster.endpoints("n1")[0], {"insecure": True})
    assert "it wants a certificate" in str(error)


# -- a door without its keeper -------------------------------------------------------------------
class Doors:
    """Two ports in this process, with the doorkeeper that a test gives them."""

    def __init__(self) -> None:
        self.context: Context = zmq.Context(io_threads=2)
        self.ports: list[Port] = []
        self.keys, self.server, self.stranger = (draw_key_pair() for _ in range(3))
        peer, client = free_ports(2)
        self.entrances = Entrances(
            Address("127.0.0.1", peer),
            self.keys.public,
            Address("127.0.0.1", client),
            self.server.public,
        )

    def port(self, address: Address, domain: bytes, keys: KeyPair) -> None:
        made = Port(self.context, address, domain, lambda: keys, 1_000, Counters())
        self.ports.append(made)

    def open(self, domain: bytes = PEER_DOMAIN) -> None:
        self.port(self.entrances.peer, domain, self.keys)
        self.port(self.entrances.client, CLIENT_DOMAIN, self.server)

    def close(self) -> None:
        """As a node does: a handshake that nobody judges may hold the context for ever."""
        for port in self.ports:
            port.close()
        ending = threading.Thread(target=self.context.term, daemon=True)
        ending.start()
        ending.join(1.0)

    def probed(self) -> Fault:
        with pytest.raises(Fault) as caught:
            probe(self.context, self.entrances, self.keys, self.stranger)
        assert caught.value.ending is Ending.DOOR_OPEN
        return caught.value


@pytest.fixture
def doors() -> Iterator[Doors]:
    made = Doors()
    yield made
    made.close()


def test_a_port_without_a_doorkeeper_takes_nobody_and_the_node_does_not_start(
    doors: Doors,
) -> None:
    """It fails closed: `ZAP_ENFORCE_DOMAIN`."""
    doors.open()
    assert "refuses this node's own key" in str(doors.probed())


def test_a_doorkeeper_that_lets_everybody_in_keeps_the_node_from_starting(doors: Doors) -> None:
    class Asleep(Doorkeeper):
        def _judge(self, *_asked: Any) -> tuple[bytes, bytes, bytes]:
            return b"200", b"OK", b"anybody"

    Asleep(doors.context, {}, insecure=False).start()
    doors.open()
    assert "lets a random key in" in str(doors.probed())


def test_a_port_whose_domain_is_not_judged_keeps_the_node_from_starting(doors: Doors) -> None:
    """The domain of clients at the door of peers: whoever has a key comes in."""
    Doorkeeper(doors.context, {}, insecure=False).start()
    doors.open(domain=CLIENT_DOMAIN)
    assert "lets a random key in" in str(doors.probed())


def test_a_node_that_does_not_know_its_own_key_does_not_start(doors: Doors) -> None:
    Doorkeeper(doors.context, {}, insecure=False).start()
    doors.open()
    assert "refuses this node's own key" in str(doors.probed())


def test_a_client_port_that_answers_no_stranger_keeps_the_node_from_starting(
    doors: Doors,
) -> None:
    Doorkeeper(doors.context, {z85.decode(doors.keys.public): "n1"}, insecure=False).start()
    doors.open()
    assert "answers a stranger 'nothing'" in str(doors.probed())


def test_the_refusal_of_its_own_stranger_is_heard_at_once(doors: Doors) -> None:
    """libzmq tells of a 300 that came while it did something else only when it gives up, 3 s later:
    two of the first four starts waited for that, and were not ready meanwhile."""

    class Slow(Doorkeeper):
        def _judge(self, *asked: Any) -> tuple[bytes, bytes, bytes]:
            time.sleep(0.05)
            return super()._judge(*asked)

    Slow(doors.context, {}, insecure=False, trial_key=z85.decode(doors.stranger.public)).start()
    doors.open()
    own = curve(CurvePair(*map(z85.decode, doors.stranger)), z85.decode(doors.keys.public))
    with Dealer(doors.entrances.peer.port, own) as dealer:
        assert dealer.event() == zmq.EVENT_HANDSHAKE_FAILED_AUTH


# -- new keys without a restart ------------------------------------------------------------------
def reload(cluster: Cluster) -> None:
    """SIGHUP to all, and wait until each has said that it is done."""
    said = {name: cluster.lines(name).count("were read again") for name in cluster.names}
    for name in cluster.names:
        cluster.signal(name, signal.SIGHUP)
    for name, times in said.items():
        wait_until(partial(_has_reloaded, cluster, name, times), f"{name} has reloaded")


def _has_reloaded(cluster: Cluster, name: str, times: int) -> bool:
    return cluster.lines(name).count("were read again") > times


def test_a_server_pair_is_replaced_while_the_cluster_serves(
    cluster: Cluster, tmp_path: Path
) -> None:
    """The trust file with both servers is handed out first; who has it never notices."""
    trust_file = cluster.folder / "certs" / "trust"
    old_trust = tmp_path / "old-trust"
    old_trust.write_bytes(trust_file.read_bytes())
    new = make_pair(cluster, "server", "server")
    trust = load_trust(trust_file)
    both = trust._replace(server_certificates=(*trust.server_certificates, new))
    replace_file(trust_file, both.text, 0o644)
    with cluster.client() as connected:
        connected.put("k", "before")
        take_into_use(cluster, "server")
        reload(cluster)
        connected.put("k", "after")
    for name in cluster.names:
        with cluster.client(name) as kv:
            item = kv.get("k")
            assert item is not None
            assert item.value == b"after"
    late = {**cluster.client_options(), "cacert": old_trust}
    assert "does not prove the server key" in str(told(cluster.endpoints("n1")[0], late))


def make_pair(cluster: Cluster, name: str, role: str) -> Certificate:
    """A new pair, not in use yet."""
    drafts = cluster.folder / "drafts"
    drafts.mkdir(exist_ok=True)
    made: Certificate = issue(cluster.authority, drafts, name, role)
    return made


def take_into_use(cluster: Cluster, name: str) -> None:
    for kind in ("cert", "key"):
        file = f"{name}.{kind}"
        os.replace(cluster.folder / "drafts" / file, cluster.folder / "certs" / file)


def test_a_members_pair_is_replaced_while_the_cluster_serves(cluster: Cluster) -> None:
    renewed = next(n for n in cluster.names if n != cluster.leader())
    old = pair_of(cluster, renewed)
    asked = next(n for n in cluster.names if n != renewed)
    make_pair(cluster, renewed, "node")
    take_into_use(cluster, renewed)
    reload(cluster)
    assert lets_in(cluster, asked, pair_of(cluster, renewed))
    assert not lets_in(cluster, asked, old)
    with cluster.client(asked) as kv, cluster.client(renewed) as at_renewed:
        for i in range(5):
            kv.put("renewed", str(i))
            item = at_renewed.get("renewed")
            assert item is not None
            assert item.value == b"%d" % i


def test_files_that_cannot_be_read_change_nothing(cluster: Cluster) -> None:
    path = cluster.folder / "certs" / "server.cert"
    good = path.read_bytes()
    path.write_bytes(b"junk")
    try:
        cluster.signal("n1", signal.SIGHUP)
        words = "the certificates of before stay in use"
        wait_until(lambda: words in cluster.lines("n1"), words)
    finally:
        path.write_bytes(good)
    with cluster.client("n1") as kv:
        assert kv.count() >= 0


def test_an_end_within_thirty_days_is_warned_of(cluster: Cluster) -> None:
    """Every certificate of this cluster ends within ten."""
    for name in cluster.names:
        lines = [x for x in cluster.lines(name).splitlines() if " warning certificate: " in x]
        assert any(f"{name}.cert ends on" in x or "server.cert ends on" in x for x in lines)
        assert any("days" in x for x in lines)


def test_the_ends_are_in_the_status(cluster: Cluster) -> None:
    with cluster.client("n1") as kv:
        ends = kv.status()["node"]["ends"]
    assert {Path(name).name for name in ends} == {"n1.cert", "server.cert", "of n2", "of n3"}
    assert all(time.time() < end < time.time() + 30 * DAY_S for end in ends.values())
