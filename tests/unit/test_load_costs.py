"""Two statuses and a number of operations: what each cost."""

from copy import deepcopy
from typing import Any

from dkv.load.costs import cost_of, revision_of

BEFORE: dict[str, Any] = {
    "node": {
        "name": "n1",
        "pid": 5,
        "cpu": {"process_us": 1_000, "thinkers_us": 500, "log_us": 100, "machine_us": 200},
    },
    "gateway": {"counters": {"turns": 10}},
    "consensus": {"role": "leader", "counters": {"turns": 10}},
    "log": {"syncs": 7, "sync_us": 700, "counters": {"turns": 10, "entries": 5}},
    "machine": {"revision": 3, "counters": {"turns": 10}},
}
AFTER: dict[str, Any] = {
    "node": {
        "name": "n1",
        "pid": 5,
        "cpu": {"process_us": 3_000, "thinkers_us": 1_500, "log_us": 300, "machine_us": 600},
    },
    "gateway": {"counters": {"turns": 50}},
    "consensus": {"role": "leader", "counters": {"turns": 30}},
    "log": {"syncs": 27, "sync_us": 4_700, "counters": {"turns": 30, "entries": 15}},
    "machine": {"revision": 9, "counters": {"turns": 15, "entries": 8, "commands": 100}},
}


def test_costs_are_the_growth_divided_by_the_operations() -> None:
    cost = cost_of(BEFORE, AFTER, 100)
    assert cost is not None
    assert cost.us == {"process": 20, "thinkers": 10, "log": 2, "machine": 4, "io": 4}
    assert cost.entries == 10
    assert cost.commands_per_entry == 100 / 8
    assert cost.turns_per_entry == {"gateway": 4, "consensus": 2, "log": 2, "machine": 0.5}
    assert (cost.syncs_per_entry, cost.us_per_sync) == (2, 200)


def test_a_node_that_was_started_again_or_away_has_no_costs() -> None:
    again = deepcopy(AFTER)
    again["node"]["pid"] = 6
    assert cost_of(BEFORE, again, 100) is None
    assert cost_of(BEFORE, None, 100) is None
    assert cost_of(None, AFTER, 100) is None


def test_what_an_older_node_does_not_tell_is_not_guessed() -> None:
    older = [deepcopy(BEFORE), deepcopy(AFTER)]
    for status in older:
        del status["node"]["cpu"], status["log"]["syncs"], status["log"]["sync_us"]
        status["machine"]["counters"] = {"turns": 1}
    cost = cost_of(older[0], older[1], 100)
    assert cost is not None
    assert cost.us is cost.commands_per_entry is cost.syncs_per_entry is cost.us_per_sync is None
    nothing = cost_of(BEFORE, BEFORE, 0)
    assert nothing is not None
    assert nothing.us is nothing.turns_per_entry is nothing.us_per_sync is None


def test_the_revision_is_the_furthest() -> None:
    assert revision_of({"n1": BEFORE, "n2": AFTER}) == 9
    assert revision_of({}) == 0
