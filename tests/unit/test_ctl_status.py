"""What `dkvctl status --actors` makes of a node's facts."""

from typing import Any

from cli.cluster import _actors

COUNTERS = {"busy_us": 250_000, "turn_us_max": 1_500, "oldest_us_max": 900}


def facts(**node: Any) -> dict[str, Any]:
    actors = ("gateway", "consensus", "log", "machine")
    found: dict[str, Any] = {actor: {"counters": COUNTERS} for actor in actors}
    return found | {"node": {"name": "n1", **node}}


def test_each_actor_has_a_row_and_the_log_its_last_sync() -> None:
    told = facts(up_us=1_000_000, mailboxes={"log": 3})
    told["log"] |= {"last_sync_us": 1_250, "last_sync_ago_ms": 2_300}
    rows = {row["actor"]: row for row in _actors(told)}
    assert rows["log"] == {
        "node": "n1",
        "actor": "log",
        "waiting": 3,
        "busy": "25.0%",
        "longest_turn": "1.5 ms",
        "longest_wait": "0.9 ms",
        "last_sync": "1.2 ms, 2.3 s ago",
    }
    assert rows["machine"]["last_sync"] is None


def test_what_an_older_node_does_not_say_is_left_empty() -> None:
    (gateway, *_others) = _actors(facts())
    assert (gateway["waiting"], gateway["busy"]) == (None, None)
    assert gateway["longest_turn"] == "1.5 ms"
