"""Clients' books: everything asked, every answer, compared with what the store holds in the end.

Owns: the rules below. The store numbers its writes, and that is the order that clients must be able
to believe in; so no search for an order is needed. Must never know why an answer was given.

    kept        what was acknowledged is there, at the revision that was said
    once        no write of a session is there twice (without one, a letter that the network
                doubles is two writes); what was definitely refused is not there
    in time     whatever was asked after an answer is no older than that answer
    as read     a read shows what the key held at the revision it names
    whole       a list, all its pages, has the keys of the revision it names, or says `compacted`
    equal       replicas that serve hold the same versions and the same sums
    refused     a disk that lost what it had promised does not go on
"""

from collections.abc import Iterator
from typing import Any

from dkv.errors import Ending
from dkv.kv.version import Version
from tests.scripts.stage import Asked, Stage
from tests.world import Reply

WRITES = ("put", "delete")


def objections(stage: Stage) -> Iterator[str]:
    """What the books hold against a world that has come to rest."""
    yield from _nodes(stage)
    serving = [n for n in stage.world.running() if stage.world.is_serving(n)]
    if not serving:
        yield "nobody serves"
        return
    yield from _replicas(stage, serving)
    trusted = [n for n in serving if n not in stage.damaged] or serving
    disk = stage.world.nodes[trusted[0]].disk
    history = [*disk.ever.values()]  # deleted ones too
    for key, row in {version.key: row for row, version in sorted(disk.ever.items())}.items():
        if disk.ever[row].value is not None and row not in disk.versions:
            yield f"{key!r} is no longer there"
    history.sort(key=lambda v: v.revision)
    yield from _writes(stage, history)
    yield from _reads(stage, history)
    yield from _in_time(stage)
    yield from _walks(stage, history)


def _nodes(stage: Stage) -> Iterator[str]:
    for name, node in stage.world.nodes.items():
        if node.ended is not None and name not in stage.damaged and not _is_gone(stage, node):
            yield f"{name} ended: {node.ended}"
        if node.ended is None and name in stage.must_refuse:
            yield f"{name} goes on with a disk that lost what it had promised"


def _is_gone(stage: Stage, node: Any) -> bool:
    """It ended since its disk was removed from the membership."""
    leader = stage.world.leader()
    disks = (
        {disk for _name, disk in stage.world.nodes[leader].raft.config.members} if leader else {}
    )
    hard = node.disk.hard
    return node.ended.ending is Ending.REMOVED and (hard is None or hard.disk not in disks)


def _replicas(stage: Stage, names: list[str]) -> Iterator[str]:
    found = {}
    for name in names:
        node = stage.world.nodes[name]
        rows = tuple(sorted(row for row, _version in node.disk.versions.items()))
        found[name] = (node.state.applied, node.state.check, node.state.written, rows)
    for name in names[1:]:
        if found[name] != found[names[0]]:
            yield f"{name} and {names[0]} differ: {found[name][:3]}, {found[names[0]][:3]}"


def _answered(stage: Stage) -> Iterator[tuple[Asked, Reply, int]]:
    replies: Any = stage.world.replies
    for asked in stage.asked.values():
        reply = replies.get(asked.request_id)
        if reply is not None:
            yield asked, reply, replies.when[asked.request_id]


def _writes(stage: Stage, history: list[Version]) -> Iterator[str]:
    by_value: dict[bytes, list[Version]] = {}
    at = {}
    for version in history:
        at[version.revision] = version
        if version.value is not None:
            by_value.setdefault(version.value, []).append(version)
    for value, found in by_value.items():
        if len(found) > 1 and value in stage.once:
            yield f"{value!r} was executed {len(found)} times: {[v.revision for v in found]}"
    for asked, reply, _when in _answered(stage):
        if reply.ok and asked.op in WRITES:
            yield from _kept(asked, reply, at)
    for value, attempts in stage.unique.items():
        said = [stage.world.replies.get(a.request_id) for a in attempts]
        refused = all(r is not None and not r.ok and r.applied == "no" for r in said)
        if refused and value in by_value:
            yield f"{value!r} was refused definitely, and executed"


def _kept(asked: Asked, reply: Reply, at: dict[int, Version]) -> Iterator[str]:
    revision = reply.result["key_revision"] if asked.op == "put" else reply.revision
    version = at.get(revision)
    if asked.op == "delete" and not reply.result.get("deleted"):
        return
    told = (asked.fields["key"], asked.fields.get("value"))
    if version is None or (version.key, version.value) != told:
        held = "nothing" if version is None else f"{version.key!r} {version.value!r}"
        yield f"{told} was acknowledged at {revision}, where the store has {held}"


def _reads(stage: Stage, history: list[Version]) -> Iterator[str]:
    by_key: dict[bytes, list[Version]] = {}
    for version in history:
        by_key.setdefault(version.key, []).append(version)
    for asked, reply, _when in _answered(stage):
        if asked.op == "get" and reply.ok:
            versions = by_key.get(asked.fields["key"], [])
            seen = [v for v in versions if v.revision <= reply.revision]
            held = seen[-1].value if seen else None
            if reply.result.get("value") != held:
                yield (
                    f"a read of {asked.fields['key']!r} at {reply.revision} shows "
                    f"{reply.result.get('value')!r}, the store held {held!r}"
                )


def _walks(stage: Stage, history: list[Version]) -> Iterator[str]:
    for revision, keys in stage.walks:
        held = {v.key: v.value for v in history if v.revision <= revision}
        there = sorted(key for key, value in held.items() if value is not None)
        if keys != there:
            yield f"a list as of {revision} had {keys}, the store {there}"


def _in_time(stage: Stage) -> Iterator[str]:
    """Real time and revisions agree (linearizability, as revisions are the order)."""
    called: dict[Any, int] = {}
    for asked in stage.asked.values():
        key = asked.place if asked.place[0] else asked.request_id
        called[key] = min(asked.called_us, called.get(key, asked.called_us))
    events = []
    for asked, reply, when in _answered(stage):
        if not reply.ok or asked.level == "serializable" or asked.op not in (*WRITES, "get"):
            continue
        wrote = asked.op == "put"
        revision = reply.result["key_revision"] if wrote else reply.revision
        key = asked.place if asked.place[0] else asked.request_id
        events.append((called[key], 1, revision, wrote))
        events.append((when, 0, revision, wrote))
    newest = 0
    for when, is_call, revision, wrote in sorted(events):
        if not is_call:
            newest = max(newest, revision)
        elif revision < newest or (wrote and revision == newest):
            what = "a write" if wrote else "a read"
            yield f"{what} asked at {when} us is of {revision}, after an answer of {newest}"
