"""What a script may say of a cluster: observable facts only, never a sequence of messages.

    n1 n2: follower, term 2, last 7/2, commit 7     a node, or several, or `all`
    n1: match n2 >= 7, next n3 8, commit same       of a leader; `same`, `+1`: as remembered
    letter Append from n1 to n2: yes                since the stanza began; also `no`, `<= 7`
    p1: ok | unanswered | change_pending | ...      a question about the members
    w1: ok | unanswered | value v | not applied | unknown | no_leader ...    a client's request
    equal n1 n2                                     the same log and the same state
    log n1: 1 1 1 4 4                               the terms of its log on disk
    books: hold                                     every answer, compared with what is stored

Owns: how each is looked up. Must never change the world.
"""

import operator
from collections.abc import Callable
from typing import Any

from dkv.errors import Code
from dkv.raft.candidate import Candidate, PreCandidate
from dkv.raft.follower import Follower
from dkv.raft.leader import Leader
from tests.scripts.books import objections
from tests.scripts.prepare import terms_of
from tests.scripts.stage import KINDS, Rule, Stage

ROLES = {
    Leader: "leader",
    Follower: "follower",
    Candidate: "candidate",
    PreCandidate: "pre-candidate",
}
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "!=": operator.ne,
}


def objection(stage: Stage, text: str) -> str | None:
    """What is true instead of `text`; None where it holds."""
    subject, _colon, rest = text.partition(":")
    words = subject.split()
    if words[0] == "letter":
        return _letters(stage, words[1:], rest.strip())
    if words[0] == "equal":
        return _equal(stage, _names(stage, words[1:]))
    if words[0] == "books":
        return next(objections(stage), None)
    if words[0] == "log":
        found = terms_of(stage.world.nodes[words[1]].disk.entries)
        return None if found == [int(w) for w in rest.split()] else f"log {words[1]} is {found}"
    if words[0] in stage.questions:
        return _told(stage, words[0], rest.strip())
    if words[0] in stage.asked:
        return _answer(stage, words[0], rest.strip())
    for name in _names(stage, words):
        for part in rest.split(","):
            said = _of_node(stage, name, part.split())
            if said:
                return f"{name}: {said}"
    return None


def _names(stage: Stage, words: list[str]) -> list[str]:
    names = list(stage.world.names) if words in ([], ["all"]) else words
    unknown = set(names) - set(stage.world.names)
    assert not unknown, f"nobody is called {', '.join(sorted(unknown))}"
    return names


# -- nodes ---------------------------------------------------------------------------------------
def look(stage: Stage, name: str) -> dict[str, Any]:
    """Everything that can be said of a node."""
    node = stage.world.nodes[name]
    if node.actors is None or getattr(node.raft, "role", None) is None:
        return {"role": "ended" if node.ended else "down"}
    raft, role = node.raft, node.raft.role
    hard = node.disk.hard
    return {
        "role": ROLES[type(role)],
        "term": raft.term,
        "vote": stage.name_of_disk(raft.vote),
        "leader": name if isinstance(role, Leader) else getattr(role, "leader", "") or "nobody",
        "last": f"{raft.tail.last.index}/{raft.tail.last.term}",
        "length": raft.tail.last.index,
        "base": raft.tail.base.index,
        "installs": raft.counters.get("snapshots_installed"),
        "commit": raft.commit,
        "saved": raft.saved,
        "applied": node.state.applied,
        "disk": max(node.disk.entries, default=0) if not node.disk.undo else "syncing",
        "disk-term": hard.term if hard else 0,
        "match": {n: p.match for n, p in role.progress.items()} if node.leads else {},
        "next": {n: p.next for n, p in role.progress.items()} if node.leads else {},
        "voters": "+".join(sorted(raft.config.voters)),
        "members": "+".join(sorted(raft.config.names)),
        "serving": "yes" if stage.world.is_serving(name) else "no",
    }


def _of_node(stage: Stage, name: str, words: list[str]) -> str | None:
    facts = look(stage, name)
    key, expected = words[0], words[1:]
    if key in ("leader", "follower", "candidate", "pre-candidate", "down", "ended", "no"):
        if key == "no":  # `no leader`, `no candidate`
            return facts["role"] if facts["role"] == expected[0] else None
        if not expected:
            return None if facts["role"] == key else f"is {facts['role']}"
    if key == "up":
        return facts["role"] if facts["role"] in ("down", "ended") else None
    if key not in facts:
        return f"is {facts['role']}, there is no {key!r}"
    found, before = facts[key], stage.before.get(name, {}).get(key)
    if isinstance(found, dict):
        member, *expected = expected
        found, before = found.get(member), (before or {}).get(member)
    return None if _holds(found, expected, before) else f"{key} is {found}"


def _holds(found: Any, expected: list[str], before: Any) -> bool:
    compare = operator.eq
    if expected[0] in COMPARE:
        compare, expected = COMPARE[expected[0]], expected[1:]
    word = expected[0]
    if word == "same":
        return compare(found, before)
    if word.startswith("+"):
        return compare(found, before + int(word))
    return compare(found, int(word) if isinstance(found, int) else word)


# -- letters -------------------------------------------------------------------------------------
def rule_of(stage: Stage, words: list[str], *, holds: bool = True) -> Rule:
    """`KIND,KIND from A,B to C`; each part may be left out."""
    named: dict[str, list[str]] = {"": [], "from": [], "to": []}
    part = ""
    for word in words:
        if word in ("from", "to"):
            part = word
        else:
            named[part] += word.split(",")
    kinds = tuple(KINDS[kind] for kind in named[""] if kind != "all")
    for names in (named["from"], named["to"]):
        _names(stage, names)
    return Rule(holds, kinds, frozenset(named["from"]), frozenset(named["to"]))


def _letters(stage: Stage, words: list[str], expected: str) -> str | None:
    empty = words[0] in ("granted", "empty", "full")
    which = words.pop(0) if empty else ""
    rule = rule_of(stage, words)
    count = sum(rule.meets(*s) and _is(which, s.letter) for s in stage.spoken)
    if expected in ("yes", "no"):
        holds = (count > 0) is (expected == "yes")
    else:
        holds = _holds(count, expected.split(), None)
    return None if holds else f"there were {count} of them"


def _is(which: str, letter: Any) -> bool:
    match which:
        case "granted":
            return bool(letter.granted)
        case "empty":
            return not letter.rows
        case "full":
            return bool(letter.rows)
    return True


# -- clients -------------------------------------------------------------------------------------
def _answer(stage: Stage, name: str, expected: str) -> str | None:
    reply = stage.world.replies.get(stage.asked[name].request_id)
    if reply is None:
        return None if expected == "unanswered" else "is unanswered"
    said = [reply.code, "answered"]
    if reply.ok:
        result = reply.result
        said += ["unknown value", "found" if result.get("found") else "not found"]
        said += [f"value {result['value'].decode()}"] if result.get("value") is not None else []
        said += [f"version {result['version']}"] if "version" in result else []
    else:
        said.append({"no": "not applied"}.get(reply.applied, reply.applied))
    wanted = {part.strip() for part in expected.split(",")}
    return None if wanted <= set(said) else f"was answered {', '.join(said)}"


def _told(stage: Stage, name: str, expected: str) -> str | None:
    told = stage.world.told.get(stage.questions[name])
    said = "unanswered" if told is None else Code(told.code).name.lower()
    return None if said == expected else f"was answered {said}"


# -- replicas ------------------------------------------------------------------------------------
def _equal(stage: Stage, names: list[str]) -> str | None:
    found = {}
    for name in names:
        node = stage.world.nodes[name]
        if node.actors is None:
            return f"{name} is down"
        state, raft = node.state, node.raft
        found[name] = (raft.tail.last, state.applied, state.check, state.written)
    if len(set(found.values())) == 1:
        return None
    return "; ".join(f"{n} ends at {f[0].index}/{f[0].term}, {f[1]}" for n, f in found.items())
