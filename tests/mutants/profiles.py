"""What each storm leans to. Owns: the mixes. Must never know the mutants that they find."""

from tests.mutants.storm import EVERYTHING, Profile

WIDE = Profile(EVERYTHING)
SYNCS = Profile(("cut", "slow", "crash", "pause"), slow_syncs=True)
JUNK = Profile(("cut", "block", "pause"), reads=0.1, gap_ms=(200, 1_500))
SMALL = Profile(
    ("cut", "block", "pause"),
    settings="append_bytes=100",
    reads=0.1,
    gap_ms=(200, 1_500),
    requests_a_second=30,
)
ONCE = (10_000, 10_000)  # one story, told by its own clock
FIGURE_8 = Profile(
    ("figure_8",),
    first="n1",
    sizes=(5,),
    seconds=4,
    settings="append_bytes=100",
    reads=0.0,
    gap_ms=ONCE,
    requests_a_second=30,
    delays=("5ms 20ms",),
    loss=0.0,
)
RETURNS = Profile(
    ("return",), first="n1", sizes=(5,), seconds=5, gap_ms=ONCE, requests_a_second=30, loss=0.0
)
SLUMBER = Profile(
    ("slumber",),
    first="n1",
    sizes=(5,),
    seconds=4,
    gap_ms=ONCE,
    settings="steady",
    loss=0.0,
    delays=("30us 300us",),
)
READS = Profile(("sleepy_leader", "island"), reads=0.6)
LATE = Profile(("hold", "cut", "crash", "pause"), reads=0.3)
CRASHES = Profile(("crash", "power_cut", "fuse"), gap_ms=(100, 700))
RESTARTS = Profile(("quick_restart",), reads=0.2)
RETRIES = Profile(("crash", "cut", "block"), reads=0.0, gap_ms=(300, 900))
EXPIRY = Profile(("crash", "pause"), reads=0.2, settings="session_ttl=1s", requests_a_second=20)
DUELS = Profile(("duel", "duel", "crash"), sizes=(5,), gap_ms=(400, 1_200))
FOUNDING = Profile(("pause",), sizes=(3,), founding=True, gap_ms=(500, 2_000), reads=0.1)
HARM = Profile(("harm", "crash"))
WIPES = Profile(("wipe",), sizes=(3,), gap_ms=(1_500, 3_000))
BEHIND = Profile(
    ("absence", "absence", "crash"),
    sizes=(3,),
    settings="log_entries=4 chunk_bytes=300",
    reads=0.1,
    gap_ms=(400, 1_500),
)
CHURN = Profile(("change", "change", "cut", "crash"), sizes=(3,), gap_ms=(150, 700), seconds=9)
TWO_ADDS = Profile(
    ("two_adds",), first="n1", sizes=(4,), seconds=4, gap_ms=ONCE, requests_a_second=10, loss=0.0
)
AT_ONCE = Profile(
    ("at_once",), first="n1", sizes=(3,), seconds=4, gap_ms=ONCE, requests_a_second=60, loss=0.0
)
KEPT = Profile(
    ("kept",), first="n1", sizes=(4,), seconds=4, gap_ms=ONCE, requests_a_second=30, loss=0.0
)
OUSTED = Profile(
    ("ousted",), first="n1", sizes=(3,), seconds=4, gap_ms=ONCE, requests_a_second=30, loss=0.0
)
HISTORY = Profile(("end_history",), settings="sweep_drops=1", gap_ms=(200, 900))
FULL = Profile(("full", "crash"))
