"""Storms: a story of misfortune and load from a seed and a profile, which says what it leans to.

Owns: how often and how long; every draw comes from one `Random`. A profile leans towards an area,
as a swarm does: the fewer kinds of fault a seed mixes, the deeper it gets into each. Must never
know what a fault does to a world (`tests.scripts.verbs`), nor which bug it is to find.
"""

from random import Random
from typing import NamedTuple

from dkv.limits import MS
from tests.scripts.steps import Step, Story

ANSWERS = ("HeartbeatAcked", "Appended", "Append", "Heartbeat", "Commit", "all")
SESSIONS = 3


class Profile(NamedTuple):
    faults: tuple[str, ...]
    sizes: tuple[int, ...] = (3, 3, 5)
    seconds: int = 6
    gap_ms: tuple[int, int] = (50, 700)  # between two faults
    requests_a_second: int = 60
    reads: float = 0.4
    settings: str = ""
    slow_syncs: bool = False
    first: str = "all"  # who may lead at the beginning
    founding: bool = False  # misfortune begins before the cluster has formed
    delays: tuple[str, ...] = ("30us 300us", "100us 5ms", "1ms 40ms")
    loss: float = 0.05
    duplication: float = 0.2


EVERYTHING = ("crash", "cut", "block", "pause", "fuse", "hold", "slow", "power_cut")
WIDE = Profile(EVERYTHING)


class Storm:
    def __init__(self, profile: Profile, seed: int) -> None:
        self.profile = profile
        self.dice = Random(f"storm {seed}")
        self.names = [f"n{i}" for i in range(1, self.dice.choice(profile.sizes) + 1)]
        self.seed = seed
        self.steps: list[Step] = []
        self._sequence = [0] * SESSIONS
        self._value = 0
        self._now_us = 0

    def story(self) -> Story:
        profile = self.profile
        if profile.founding:
            self._found()
        self._at(0, *[f"open {self._one()} as s{i} ttl 5s" for i in range(SESSIONS)])
        self._load(200, profile.seconds * 1_000)
        now_ms = 300
        while now_ms < profile.seconds * 1_000:
            self._now_us = now_ms * MS
            getattr(self, f"_{self.dice.choice(profile.faults)}")()
            now_ms += self.dice.randint(*profile.gap_ms)
        return Story(self._opening(), tuple(sorted(self.steps, key=lambda s: s.when_us)))

    def _opening(self) -> tuple[str, ...]:
        profile, dice = self.profile, self.dice
        opening = [f"world {len(self.names)} nodes seed={self.seed} {profile.settings}".strip()]
        opening.append(f"candidates {profile.first}")
        opening += [] if profile.founding else ["start", "until serving"]
        opening.append(f"delay {dice.choice(profile.delays)}")
        opening.append(f"loss {dice.uniform(0, profile.loss):.3f}")
        opening.append(f"duplication {dice.uniform(0, profile.duplication):.3f}")
        if profile.slow_syncs:
            opening += [f"sync {name} 2ms {dice.choice((40, 400))}ms" for name in self.names]
        return tuple(opening)

    # -- load ------------------------------------------------------------------------------------
    def _load(self, from_ms: int, until_ms: int) -> None:
        count = self.profile.requests_a_second * (until_ms - from_ms) // 1_000
        for when in sorted(self.dice.randint(from_ms, until_ms) for _ in range(count)):
            self._now_us = when * MS + self.dice.randint(0, 999)
            self._request(self._one())

    def _request(self, node: str) -> None:
        key = f"k{self.dice.randint(0, 4)}"
        if self.dice.random() < self.profile.reads:
            level = " serializable" if self.dice.random() < 0.1 else ""
            self._at(0, f"get {node} {key} ttl {self.dice.choice((300, 1_500))}ms{level}")
            return
        self._value += 1
        put = f"{key} v{self._value} ttl {self.dice.choice((300, 1_500))}ms"
        if self.dice.random() < 0.3:
            self._at(0, f"put {node} {put}")
            return
        number = self.dice.randrange(SESSIONS)
        self._sequence[number] += 1
        put += f" session s{number} {self._sequence[number]}"
        self._at(0, f"put {node} {put}")
        while self.dice.random() < 0.4:
            self._at(self.dice.randint(100, 3_500), f"put {self._one()} {put} retry")

    def _one(self) -> str:
        return self.dice.choice(self.names)

    def _victim(self) -> str:
        """A leader half of the time: there is more to lose."""
        return self.dice.choice(("leader", self._one()))

    def _at(self, after_ms: int, *commands: str) -> None:
        for command in commands:
            verb, *words = command.split()
            self.steps.append(Step(self._now_us + after_ms * MS, verb, tuple(words)))

    # -- misfortunes -----------------------------------------------------------------------------
    def _crash(self) -> None:
        self._at(0, f"crash {self._victim()}")
        self._at(self.dice.randint(1, 1_500), "start")

    def _power_cut(self) -> None:
        self._at(0, "crash")
        self._at(self.dice.randint(1, 600), "start")

    def _cut(self) -> None:
        self._at(0, f"cut {self._victim()}")
        self._at(self.dice.randint(100, 2_500), "heal")

    def _block(self) -> None:
        """One direction only."""
        one, other = self._victim(), self._one()
        self._at(0, f"block {one} {other}" if self.dice.random() < 0.5 else f"block {other} {one}")
        self._at(self.dice.randint(100, 2_500), "heal")

    def _pause(self) -> None:
        self._at(0, f"pause {self._victim()}")
        self._at(self.dice.randint(10, 2_500), "resume")

    def _fuse(self) -> None:
        when = self.dice.choice(("before", "after"))
        self._at(0, f"fuse {self._victim()} {self.dice.randint(0, 20)} {when}")
        self._at(self.dice.randint(300, 1_500), "start")

    def _hold(self) -> None:
        """A queue that is delivered late, perhaps twice, perhaps from its end."""
        way = self.dice.choice(("to", "from"))
        kind = self.dice.choice(ANSWERS)
        self._at(0, f"hold {kind} {way} {self._victim()}")
        how = self.dice.choice(("", " reversed", " twice", " twice"))
        self._at(self.dice.randint(50, 2_500), "let all", f"release{how}")

    def _slow(self) -> None:
        name = self._one()
        self._at(0, f"sync {name} 50ms 900ms")
        self._at(self.dice.randint(200, 2_000), f"sync {name} 1ms 9ms")

    # -- misfortunes that profiles lean to -------------------------------------------------------
    def _sleepy_leader(self) -> None:
        """It sleeps through an election, and is asked for reads meanwhile and as it wakes."""
        self._at(0, "pause leader")
        wakes = self.dice.randint(700, 2_500)
        name = self._one()
        for after in range(0, 60, 6):
            self._at(wakes - 30 + after, f"get {name} k{after % 5} ttl 1s")
        self._at(wakes, "resume")

    def _island(self) -> None:
        """The leader is cut off while it is asked; the acknowledgements that it had yet to hear
        arrive after another has led."""
        self._at(0, "hold HeartbeatAcked to leader")
        self._at(self.dice.randint(50, 400), "cut leader")
        after = self.dice.randint(900, 2_500)
        for _ in range(8):
            self._at(after - self.dice.randint(0, 40), f"get {self._one()} k1 ttl 2s")
        self._at(after, "let all", self.dice.choice(("release", "release twice")))
        self._at(after + self.dice.randint(50, 800), "heal")

    def _quick_restart(self) -> None:
        """Back at once, and asked at once."""
        name = self._one()
        self._at(0, f"crash {name}")
        back = self.dice.randint(1, 60)
        self._at(back, f"start {name}")
        for _ in range(12):
            self._now_us += self.dice.randint(1, 30) * MS
            self._request(name)

    def _relay_race(self) -> None:
        """Leaders fall one after the other, and most of what they say of entries is lost."""
        self._at(0, "drop Append")
        self._at(self.dice.randint(0, 150), "let all")
        self._at(self.dice.randint(50, 400), "crash leader")
        self._at(self.dice.randint(400, 1_800), "start")

    def _full(self) -> None:
        name = self._one()
        step = self.dice.choice(("table.add", "table.add", "table.commit", "journal.replace"))
        self._at(0, f"fail {name} {step}")
        self._at(self.dice.randint(20, 300), f"works {name}")
        self._at(self.dice.randint(400, 1_200), "start")

    def _end_history(self) -> None:
        """Keys are deleted, history ends, and somebody falls while what it held is deleted; lists
        are under way."""
        draw = self.dice.randint
        self._at(draw(0, 100), f"walk {self._one()} {draw(20, 400)}ms")
        for _ in range(draw(2, 6)):
            self._at(draw(0, 200), f"delete {self._one()} k{draw(0, 4)} ttl 1s")
        ends = draw(150, 400)
        self._at(ends, f"compact {self._one()} ttl 1s")
        self._at(ends + draw(5, 2_000), f"crash {self._one()}")
        self._at(ends + draw(2_000, 2_400), "start")

    def _duel(self) -> None:
        """Two campaign at the same moment while nobody leads."""
        first, second = self.dice.sample(self.names, 2)
        self._at(0, "pause leader")
        after = self.dice.randint(510, 700)
        self._at(after, f"campaign {first} {second}")
        self._at(after + self.dice.randint(0, 900), "resume")

    def _harm(self) -> None:
        what = self.dice.choice(("shorten {}", "flip {} last", "flip {} seen"))
        self._at(0, what.format(self._one()))
        self._at(self.dice.randint(1, 900), "start")

    def _wipe(self) -> None:
        """What two have acknowledged and the third has not: one of the two loses its disk, the
        other its network."""
        alone, wiped, behind = self.dice.sample(self.names, 3)
        self._at(0, f"drop Append to {behind}")
        after = self.dice.randint(100, 400)
        self._at(after, f"wipe {wiped}", f"cut {alone}", "let all")
        self._at(after + self.dice.randint(1, 300), "start")
        self._at(after + self.dice.randint(1_500, 2_500), "heal")

    def _absence(self) -> None:
        """Somebody comes back when the log is gone."""
        name = self._one()
        self._at(0, f"crash {name}")
        self._at(self.dice.randint(1_500, 3_000), f"start {name}")

    def _change(self) -> None:
        what = self.dice.choice(("grow", "grow", "shrink", "replace", "transfer"))
        who = self.dice.choice((-1, self.dice.randrange(20)))
        self._at(0, f"change {what} {who}")

    def _two_adds(self) -> None:
        """The first of the published failures of single-server changes (raft-dev, 10 July 2015): a
        leader adds n5 and only n5 hears of it, the next adds n6 before anything of its own term is
        committed, the first comes back with a majority of its own."""
        draw = self.dice.randint
        self._at(0, "newcomer n5 n6", "ask n1 add n5 learner")
        self._at(100, "ask n1 add n6 learner")
        self._at(200, "ask n1 join n5")
        self._at(300, "ask n1 join n6")
        self._at(800, "drop Append from n1 to n2,n3,n4,n6", "ask n1 promote n5 force")
        self._at(850, "cut n1 n5", "candidates n2", "drop Append from n2 to n4")
        self._at(1_900, "campaign n2")
        self._at(1_900 + draw(50, 200), "ask n2 promote n6 force")
        falls = 2_200 + draw(50, 200)
        self._at(falls, "let all", "heal", "cut n2 n3 n6", "candidates n1")
        self._at(falls + 600, "campaign n1")  # it learns the term,
        self._at(falls + 650, "campaign n1")  # and asks in the next

    def _at_once(self) -> None:
        """Two learners are promoted before anybody but they has heard of the first."""
        draw = self.dice.randint
        self._at(0, "newcomer n4 n5", "ask n1 add n4 learner")
        self._at(100, "ask n1 add n5 learner")
        self._at(200, "ask n1 join n4")
        self._at(300, "ask n1 join n5")
        self._at(800, "drop Append from n1 to n2,n3", "ask n1 promote n4 force")
        self._at(800 + draw(1, 30), "ask n1 promote n5 force")
        self._at(850, "cut n1 n4 n5", "candidates all")
        self._at(2_500 + draw(0, 500), "let all", "heal")

    def _kept(self) -> None:
        """n1, cut off, removes n4; n2 leads and replaces that entry; n1 leads again."""
        draw = self.dice.randint
        self._at(300, "cut n1", "ask n1 remove n4 force", "candidates n2")
        self._at(1_600, "campaign n2")
        self._at(1_900 + draw(0, 100), "heal", "candidates n1")
        crash = 2_200 + draw(0, 100)
        self._at(crash, "crash n2")
        self._at(crash + 600, "campaign n1")
        self._at(crash + 1_200, "candidates all", "start n2")

    def _ousted(self) -> None:
        """The leader removes itself while only one of the two others hears it."""
        draw = self.dice.randint
        self._at(300, "drop Append from n1 to n3", "ask n1 remove n1 force")
        self._at(300 + draw(20, 400), "crash n2")
        self._at(1_500 + draw(0, 500), "let all")
        self._at(2_500, "start n2")

    def _figure_8(self) -> None:
        """The paper's figure: n1 leads, n5 in between, n1 again, n5 at last; times are drawn."""
        draw = self.dice.randint
        self._at(300, "drop Append from n1 to n3,n4,n5")
        self._at(300 + draw(20, 150), "crash n1", "candidates n5", "let all", "drop Append from n5")
        self._at(1_100, "campaign n5")
        self._at(1_100 + draw(40, 150), "crash n5", "start n1", "candidates n1", "let all")
        self._at(1_300, "drop Append from n1 to n4,n5")
        self._at(1_900, "campaign n1")  # it learns the term,
        self._at(1_950, "campaign n1")  # and asks in the next
        falls = 1_950 + draw(40, 160)
        self._at(falls, "crash n1", "cut n1", "start n5", "candidates n5", "let all")
        self._at(falls + 100, "heal")
        self._at(2_700, "campaign n5")
        self._at(3_300, "start n1")

    def _return(self) -> None:
        """n1 leads, is deposed and leads again; acknowledgements of its first term come then."""
        draw = self.dice.randint
        self._at(300, "hold Appended from n2 to n1", "drop Append from n1 to n3,n4,n5")
        self._at(300 + draw(50, 300), "cut n1 n2", "candidates n3 n4 n5")
        self._at(2_000, "let all", "heal", "candidates n1")
        self._at(2_000 + draw(100, 300), "cut n2", "pause leader")
        self._at(3_000, "campaign n1")
        self._at(3_000 + draw(50, 500), "release")
        self._at(4_000, "resume", "heal")

    def _slumber(self) -> None:
        """n1's round is acknowledged, and it falls asleep before it hears so. n2, cut off with it
        and slow of clock, asks it for reads long after the others have gone on."""
        draw = self.dice.randint
        self._at(0, "clock n2 0.25")
        self._at(700, "hold HeartbeatAcked from n3,n4,n5 to n1")
        asleep = 700 + draw(50, 250)
        self._at(asleep, "pause n1", "cut n1 n2", "candidates n3 n4 n5")
        wakes = asleep + draw(1_200, 1_700)
        for before in (20, 15, 10):
            self._at(wakes - before, f"get n2 k{draw(0, 4)} ttl 4s")
        self._at(wakes, "let all", "release", "resume n1")
        self._at(wakes + draw(300, 900), "heal", "clock n2 1.0", "candidates all")

    def _found(self) -> None:
        """Two of three come first; then one of them is cut off, the other loses its disk, and the
        third comes."""
        alone, wiped, late = self.dice.sample(self.names, 3)
        self._at(0, f"start {alone} {wiped}")
        after = self.dice.randint(1_000, 2_500)
        self._at(after, f"cut {alone}", f"wipe {wiped}", f"start {wiped} {late}")
        self._at(after + self.dice.randint(1_500, 2_500), "heal")
