"""The verbs of a script, one method each: `> crash n1` calls `crash("n1")`.

Owns: what each verb does to a stage. A verb that finds nothing to do (a node that is down is to be
paused) does nothing, for a shrunk script has holes. Must never know where its words come from: the
same verbs play recorded steps (see `steps`).
"""

from collections.abc import Callable
from random import Random
from typing import Any

from actors import copying
from dkv.address import Local
from dkv.kv import sweep
from dkv.limits import MS, RETENTION, SECOND, ClusterLimits, Retention, Timing
from dkv.raft import leader
from tests.scripts.facts import look, objection, rule_of
from tests.scripts.language import microseconds
from tests.scripts.prepare import prepare
from tests.scripts.seeds import read_step
from tests.scripts.stage import Asked, Stage
from tests.sim import Step
from tests.sim.churn import Churn
from tests.stores import Fuse, SimDisk

WITHIN_US = 20 * SECOND
LIVE_WITHIN_US = 10 * SECOND


class Player:
    """Plays commands on a stage, which `world` sets up."""

    def __init__(self) -> None:
        self.stage: Stage = None  # type: ignore[assignment]  # a script begins with `world`
        self.seed_number = 0  # of a script of the simulator (see `seeds`): its faults
        self.faults: list[Step] = []
        self._logs: dict[str, list[int]] = {}
        self._terms: dict[str, int] = {}
        self._churn: Churn | None = None
        self._put_back: list[Callable[[], None]] = []

    def play(self, command: str) -> None:
        verb, *words = command.split()
        method = getattr(self, verb.replace("-", "_"))
        if {"leader", "follower"} & set(words) and verb != "until":
            roles = self._roles()
            if not roles:
                return  # nobody leads: the step falls away
            words = [roles.get(word, word) for word in words]
        method(*words)

    def close(self) -> None:
        for put_back in reversed(self._put_back):
            put_back()

    def _roles(self) -> dict[str, str]:
        """Whom a recorded step means by `leader` and `follower`."""
        leader = self._world.leader()
        others = [n for n in self._world.running() if n != leader]
        return {"leader": leader, "follower": others[0]} if leader and others else {}

    @property
    def _world(self) -> Any:
        return self.stage.world

    # -- a seed of the simulator -------------------------------------------------------------------
    def seed(self, number: str) -> None:
        self.seed_number = int(number)

    def at(self, when: str, fault: str, arguments: str) -> None:
        """`at 1200ms crash [0,500]`: a fault of tests.sim, and when."""
        self.faults.append(read_step(when, fault, arguments))

    # -- the world -------------------------------------------------------------------------------
    def world(self, size: str, _nodes: str, *settings: str) -> None:
        """`world 3 nodes seed=7 steady session_ttl=2s note_entries=16 log_entries=8`"""
        given = dict(s.split("=") if "=" in s else (s, "") for s in settings)
        timing, limits = Timing(), ClusterLimits()
        if "steady" in given:  # no leader steps down for want of a majority
            timing = timing._replace(step_down_us=3_600 * SECOND)
        if "session_ttl" in given:
            limits = limits._replace(session_ttl_ms=microseconds(given["session_ttl"]) // MS)
        if "note_entries" in given:
            limits = limits._replace(note_entries=int(given["note_entries"]))
        if "append_bytes" in given:
            self._limit(leader, "APPEND_BYTES_MAX", int(given["append_bytes"]))
        if "chunk_bytes" in given:
            self._limit(copying, "CHUNK_BYTES", int(given["chunk_bytes"]))
        kept = int(given.get("log_entries", RETENTION.entries))
        retention = Retention(kept // 2, kept, 1) if "log_entries" in given else RETENTION
        if "sweep_drops" in given:  # in many steps, as of a long history
            self._limit(sweep, "SWEEP_STEP_DROPS", int(given["sweep_drops"]))
        names = tuple(f"n{i}" for i in range(1, int(size) + 1))
        self.stage = Stage(
            names, int(given.get("seed", 1)), timing=timing, limits=limits, retention=retention
        )

    def _limit(self, module: object, name: str, size: int) -> None:
        """Little in a letter, so that a log or a state is copied in many, as a long one is."""
        before = getattr(module, name)
        setattr(module, name, size)
        self._put_back.append(lambda: setattr(module, name, before))

    def log(self, name: str, *terms: str) -> None:
        self._logs[name] = [int(t) for t in terms]

    def term(self, number: str, *names: str) -> None:
        """The last term that nodes with a prepared log have seen: all of them, or these."""
        for name in names or self._world.names:
            self._terms[name] = int(number)

    def loss(self, share: str) -> None:
        self._world.loss = float(share)

    def duplication(self, share: str) -> None:
        self._world.duplication = float(share)

    def delay(self, least: str, most: str) -> None:
        self._world.delay_us = (microseconds(least), microseconds(most))

    def sync(self, name: str, least: str, most: str) -> None:
        self._world.nodes[name].sync_us = (microseconds(least), microseconds(most))

    def clock(self, name: str, rate: str) -> None:
        self._world.set_clock_rate(name, float(rate))

    def wall(self, name: str, offset: str) -> None:
        self._world.nodes[name].wall_offset_ms = microseconds(offset) // MS

    # -- time ------------------------------------------------------------------------------------
    def run(self, time: str) -> None:
        self._world.run(microseconds(time))

    def until(self, *words: str) -> None:
        """`until n1: leader` or any fact; `until serving n1 n2`; at the end `within 300ms`."""
        within_us = WITHIN_US
        if "within" in words:
            within_us, words = microseconds(words[-1]), words[:-2]
        text = " ".join(words)
        if words[0] == "serving":
            reached = self.stage.until(lambda: self._world.is_serving(*words[1:]), within_us)
        else:
            reached = self.stage.until(lambda: objection(self.stage, text) is None, within_us)
        missing = objection(self.stage, text) if words[0] != "serving" else "does not serve"
        assert reached, f"not within {within_us // MS} ms: {missing}; {self._world.describe()}"

    def remember(self) -> None:
        """`same` and `+1` in facts are in comparison with now."""
        self.stage.before = {name: look(self.stage, name) for name in self._world.names}

    # -- nodes -----------------------------------------------------------------------------------
    def start(self, *names: str) -> None:
        if self._logs:
            prepare(self._world, self._logs, self._terms)
            self._logs = {}
        for name in names or self._world.names:
            node = self._world.nodes[name]
            if node.actors is None and (node.ended is None or name in self.stage.damaged):
                self._world.start_node(name)

    def crash(self, *names: str) -> None:
        """kill -9 and power cut in one."""
        for name in names or self._world.names:
            self._world.crash(name)
            self.stage.forget_stuck(name)

    def restart(self, *names: str) -> None:
        self.crash(*names)
        self.start(*names)

    def pause(self, *names: str) -> None:
        for name in names:
            self._world.pause(name)

    def resume(self, *names: str) -> None:
        for name in names or self._world.names:
            if self._world.nodes[name].paused:
                self._world.resume(name)

    def candidates(self, *names: str) -> None:
        """Only these may campaign (`all`): the others' questions for votes are lost."""
        self.stage.candidates = frozenset(self._world.names if names == ("all",) else names)

    def campaign(self, *names: str) -> None:
        """Their election timeouts are over."""
        for name in names:
            node = self._world.nodes[name]
            if node.actors is not None and hasattr(node.raft, "role") and not node.leads:
                node.raft.role.deadline = node.raft.now.us
            self.stage.turn_now(name)

    def elect(self, name: str) -> None:
        """`campaign` until it leads; nobody else does."""
        self.candidates(name)
        self.run("1ms")
        self.campaign(name)
        self.until(f"{name}:", "leader", "within", "3s")

    # -- the network -----------------------------------------------------------------------------
    def cut(self, *names: str) -> None:
        """Nothing passes between these and the others."""
        self._world.cut(*names)

    def block(self, sender: str, receiver: str) -> None:
        self._world.blocked.add((sender, receiver))

    def heal(self) -> None:
        self._world.heal()

    def hold(self, *words: str) -> None:
        """`hold Append from n1 to n2,n3`: letters wait until they are released."""
        self.stage.rules.append(rule_of(self.stage, list(words)))

    def drop(self, *words: str) -> None:
        self.stage.rules.append(rule_of(self.stage, list(words), holds=False))

    def let(self, *_through: str) -> None:
        """`let all through`: no letter is held or dropped any more; what was held stays held."""
        self.stage.rules.clear()

    def release(self, *words: str) -> None:
        """`release Append from n1 reversed twice`: what was held arrives, even across a cut."""
        kept = [w for w in words if w not in ("reversed", "twice")]
        frames = self.stage.take_held(rule_of(self.stage, kept))
        if "reversed" in words:
            frames.reverse()
        self.stage.release(frames * (2 if "twice" in words else 1))

    # -- disks -----------------------------------------------------------------------------------
    def hold_writes(self, *names: str) -> None:
        """Their logs answer nothing: as a sync that takes long."""
        for name in names:
            self.stage.stick(name, Local.LOG)

    def finish_writes(self, name: str, count: str = "") -> None:
        self.stage.loosen(name, Local.LOG, int(count) if count else None)

    def hold_saved(self, name: str) -> None:
        """Its log's word that Writes are on disk does not reach its consensus."""
        self.stage.stick(name, Local.CONSENSUS)

    def finish_saved(self, name: str) -> None:
        self.stage.loosen(name, Local.CONSENSUS, None)

    def fuse(self, name: str, steps: str, when: str) -> None:
        """Its power goes before or after so many more steps of its disk."""
        fuse: Fuse = self._world.nodes[name].disk.fuse
        fuse.blow_at = len(fuse.steps) + int(steps)
        fuse.after = when == "after"

    def defuse(self) -> None:
        for node in self._world.nodes.values():
            node.disk.fuse.blow_at = None

    def fail(self, name: str, step: str) -> None:
        """The next such step of its disk fails, as a statement does on a full one."""
        self._world.nodes[name].disk.fuse.fail_next = step
        self.stage.damaged.add(name)  # it may end, and be started again

    def works(self, name: str) -> None:
        """Its disk is in order again."""
        self._world.nodes[name].disk.fuse.fail_next = ""

    def wipe(self, name: str) -> None:
        """Its data directory is emptied. (One of a cluster at most, or what is lost is lost.)"""
        if self._may_harm(name):
            self.crash(name)
            self._world.wipe(name)

    def shorten(self, name: str) -> None:
        """Its log loses the last entry that its witness saw, and what follows."""
        disk = self._world.nodes[name].disk
        if self._may_harm(name):
            self.crash(name)
            seen = _witnessed(disk)
            if seen in disk.entries:
                for index in [i for i in disk.entries if i >= seen]:
                    del disk.entries[index]
                self.stage.must_refuse.add(name)

    def flip(self, name: str, which: str) -> None:
        """A bit of its log's `last` entry, or of the one that its witness saw (`seen`)."""
        disk = self._world.nodes[name].disk
        if self._may_harm(name):
            self.crash(name)
            index = max(disk.entries, default=0) if which == "last" else _witnessed(disk)
            entry = disk.entries.get(index)
            if entry is not None and index > 1:
                flipped = bytes([*entry.payload[:-1], *(b ^ 1 for b in entry.payload[-1:])])
                disk.entries[index] = entry._replace(payload=flipped, wall=entry.wall ^ 1)
                self.stage.must_refuse.add(name)

    def _may_harm(self, name: str) -> bool:
        """Each once, and only a minority of disks: with more, nobody could promise anything."""
        harmed = self.stage.damaged | {name}
        if name in self.stage.damaged or 2 * len(harmed) >= len(self._world.names):
            return False
        self.stage.damaged.add(name)
        self._world.invariants.distrusted.add(name)
        return True

    # -- the membership --------------------------------------------------------------------------
    def newcomer(self, *names: str) -> None:
        """Nodes with empty disks, which know the others and are no members."""
        for name in names:
            self._world.newcomer(name)
            self._world.start_node(name)

    def ask(self, node: str, op: str, name: str = "", *words: str) -> None:
        """`ask n1 promote n5 force as p1`: add, join, promote, remove, transfer."""
        if self._world.nodes[node].actors is None:
            return
        fields: dict[str, Any] = {"name": name}
        if op == "join":
            disk = self._world.nodes[name].actors.disk
            address = {"peer_address": f"{name}:2380", "client_address": f"{name}:3000"}
            fields = {"name": name, "disk": disk, **address}
        fields |= {word: True for word in words if word in ("force", "learner")}
        called = {"transfer": "leader_transfer", "join": "join"}.get(op, f"member_{op}")
        number = self._world.question(node, called, **fields)
        if "as" in words:
            self.stage.questions[words[-1]] = number

    def change(self, what: str, who: str) -> None:
        """`change grow 3`: as members come and go in the simulator (`tests.sim.churn`)."""
        if self._churn is None:
            world = self._world
            self._churn = Churn(world, Random(f"churn {world.seed}"), self.stage.damaged)
        self._churn.do(what, int(who))

    # -- the end ---------------------------------------------------------------------------------
    def calm(self) -> None:
        """All misfortune ends; whoever is down is started."""
        world = self._world
        self.heal()
        self.let()
        self.defuse()
        self.candidates("all")
        self.stage.release(self.stage.take_held(rule_of(self.stage, [])))
        world.loss = world.duplication = 0.0
        world.delay_us = (30, 300)
        for name, node in world.nodes.items():
            node.sync_us = (200, 3_000)
            world.set_clock_rate(name, 1.0)
            node.disk.fuse.fail_next = ""
            for actor in (Local.LOG, Local.CONSENSUS):
                self.stage.loosen(name, actor, None)
        self.resume()
        self.start()
        if self._churn is not None:
            self._churn.over = True

    def settle(self) -> None:
        """Within ten seconds it serves, takes a write, and all replicas have that."""
        world = self._world
        if self._members() != list(world.names):
            world.run(2 * SECOND)  # who was removed learns it, who was invited does not come
        well = [n for n in self._members() if n not in self.stage.damaged]
        world.run_until(lambda: world.is_serving(*well), LIVE_WITHIN_US)
        asked = world.ask(world.leader(), "put", {"ttl_ms": 10_000}, key=b"alive", value=b"alive")
        assert world.reply(asked, LIVE_WITHIN_US).ok, world.describe()
        commit = world.nodes[world.leader()].raft.commit
        world.run_until(
            lambda: all(world.nodes[n].state.applied >= commit for n in well), LIVE_WITHIN_US
        )
        world.run(3 * SECOND)

    def _members(self) -> list[str]:
        churn = self._churn or Churn(self._world, Random(0), set())
        return churn.seated() if churn.config().is_formed else list(self._world.names)

    # -- clients ---------------------------------------------------------------------------------
    def put(self, node: str, key: str, value: str, *words: str) -> None:
        self._ask(node, "put", {"key": key.encode(), "value": value.encode()}, words)

    def get(self, node: str, key: str, *words: str) -> None:
        self._ask(node, "get", {"key": key.encode()}, words)

    def delete(self, node: str, key: str, *words: str) -> None:
        self._ask(node, "delete", {"key": key.encode()}, words)

    def compact(self, node: str, *words: str) -> None:
        self._ask(node, "compact", {}, words)

    def walk(self, node: str, pause: str) -> None:
        """A list of everything, two keys a page, with a pause between them."""
        self._walk(node, microseconds(pause), None, [])

    def _walk(self, node: str, pause_us: int, token: bytes | None, found: list[bytes]) -> None:
        fields = {"limit": 2, "token": token}
        request = self._world.ask(node, "list", {"ttl_ms": 500}, **fields)

        def turned(page: Any) -> None:
            if not page.ok:
                return
            keys = found + [item[0] for item in page.result["items"]]
            if "token" in page.result:
                again = page.result["token"]
                self._world.after(pause_us, lambda: self._walk(node, pause_us, again, keys))
            else:
                self.stage.walks.append((page.revision, keys))

        self._world.waiters[request] = turned

    def open(self, node: str, *words: str) -> None:
        """`open n1 as s1`: a session, which `session s1 3` then names with a sequence."""
        self._ask(node, "open_session", {}, words)

    def _ask(self, node: str, op: str, fields: dict[str, Any], words: tuple[str, ...]) -> None:
        """`as w1`, `ttl 500ms`, `session s1 3 [lowest 2]`, `retry`, `expected 7`, `serializable`"""
        header: dict[str, Any] = {}
        rest = list(words)
        name = f"request {len(self.stage.asked) + 1}"
        while rest:
            match rest.pop(0):
                case "as":
                    name = rest.pop(0)
                case "ttl":
                    header["ttl_ms"] = microseconds(rest.pop(0)) // MS
                case "session":
                    header["session"] = self._session(rest.pop(0))
                    header["sequence"] = int(rest.pop(0))
                    header.setdefault("lowest", 1)
                case "lowest":
                    header["lowest"] = int(rest.pop(0))
                case "retry":
                    header["retry"] = True
                case "expected":
                    fields["expected"] = int(rest.pop(0))
                case "serializable":
                    header["level"] = "serializable"
                case word:
                    raise ValueError(f"a request knows no {word!r}")
        if header.get("session", 1):
            self._send(name, node, op, fields, header)

    def _session(self, name: str) -> int:
        """Its number; 0 where it was never opened, and then nothing is asked in it."""
        opened = self.stage.asked.get(name)
        reply = self._world.replies.get(opened.request_id) if opened else None
        return int(reply.result["session"]) if reply is not None and reply.ok else 0

    def _send(
        self, name: str, node: str, op: str, fields: dict[str, Any], header: dict[str, Any]
    ) -> None:
        place = (header.get("session", 0), header.get("sequence", 0))
        called = self._world.now_us
        request = self._world.ask(node, op, header, **fields)
        level = header.get("level", "linearizable")
        asked = Asked(request, called, node, op, fields, place, level)
        self.stage.asked[name] = asked
        if op == "put":
            self.stage.unique.setdefault(fields["value"], []).append(asked)
            if place[0]:
                self.stage.once.add(fields["value"])


def _witnessed(disk: SimDisk) -> int:
    slots = [slot for slot in disk.slots if slot is not None]
    return max(slots)[1].index if slots else 0
