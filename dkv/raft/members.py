"""The leader's care for the membership: what is asked, when a change may be made, who is well.

Owns: the conditions of a change (one at a time; none before an entry of the leader's own term is
committed: Ongaro, raft-dev, 10 July 2015; none that would leave a majority silent), promotion by
itself, the survey of members. Must never know a client or a port.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgpack

from dkv.address import Local, Peer
from dkv.entries import Kind
from dkv.errors import Code, Ending, Fault
from dkv.limits import MS, PROMOTE_GAP_ENTRIES, SECOND
from dkv.messages import Ask, RelayAsk, Told
from dkv.raft import changes, handover, questions
from dkv.raft.changes import Change, Impossible, voters
from dkv.raft.configuration import Seat, pack_change
from dkv.raft.quorum import majority
from dkv.raft.reads import Asker

if TYPE_CHECKING:
    from dkv.raft.core import Raft
    from dkv.raft.leader import Leader
    from dkv.raft.progress import Progress

_ANNOUNCE_EVERY_US = 1 * SECOND
_LEAVING_US = 200 * MS  # a removed node goes on so long, for what it has just said to leave it


# -- answers -------------------------------------------------------------------------------------
def tell(raft: "Raft", asker: Asker, code: Code, what: Any, applied: str = "no") -> None:
    peer, batch = asker
    if peer is None and not batch:
        return  # this node's own announcement
    raft.post(peer or Local.GATEWAY, Told(batch, code, msgpack.packb(what), applied))


def refuse_ask(raft: "Raft", asker: Asker, code: Code) -> None:
    tell(raft, asker, code, "no leader is known here" if code is Code.NO_LEADER else "it leads not")


# -- questions -----------------------------------------------------------------------------------
def ask(raft: "Raft", lead: "Leader", asker: Asker, letter: Ask | RelayAsk) -> None:
    """Answer at once, or once the change that it makes is committed."""
    if isinstance(letter, RelayAsk) and lead.age_us(raft, letter.round) > letter.ttl_ms * MS:
        raft.counters.add("questions_expired")
        tell(raft, asker, Code.TIMEOUT, "it came too late")
        return
    question = questions.unpack(letter.question)
    if question is None:
        raft.counters.add("questions_garbled")
        tell(raft, asker, Code.BAD_REQUEST, "the question cannot be read")
        return
    answer = _OPS.get(question.op)
    if answer is None:
        tell(raft, asker, Code.UNSUPPORTED, f"this leader does not know {question.op}")
        return
    try:
        answer(raft, lead, asker, question)
    except Impossible as refusal:
        tell(raft, asker, refusal.code, refusal.words)


def _list(raft: "Raft", lead: "Leader", asker: Asker, _question: questions.Question) -> None:
    if not lead.own_term_committed(raft):
        raise Impossible(Code.NOT_LEADER, "this leader is new and does not know yet what holds")
    tell(raft, asker, Code.OK, survey(raft, lead), "yes")


def _add(raft: "Raft", lead: "Leader", asker: Asker, question: questions.Question) -> None:
    fields = question.fields
    seat = Seat(
        fields["name"],
        promote=not fields["learner"],
        peer=fields["peer_address"],
        client=fields["client_address"],
        since=raft.now.wall_ms,
    )
    _make(raft, lead, asker, changes.invite(raft.config, seat))


def _join(raft: "Raft", lead: "Leader", asker: Asker, question: questions.Question) -> None:
    fields = question.fields
    came = Seat(
        fields["name"],
        fields["disk"],
        peer=fields["peer_address"],
        client=fields["client_address"],
        key=question.key,
        certificate=question.certificate,
    )
    if fields["level"] < raft.config.level:
        words = (
            f"this cluster is at level {raft.config.level}, and the dkv of {came.name} knows level "
            f"{fields['level']} only: install the version that the members run"
        )
        raise Impossible(Code.NEWER_NEEDED, words)
    _make(raft, lead, asker, changes.join(raft.config, came))


def _update(raft: "Raft", lead: "Leader", asker: Asker, question: questions.Question) -> None:
    fields = question.fields
    said = Seat(
        fields["name"],
        peer=fields["peer_address"],
        client=fields["client_address"],
        key=question.key if fields["certificate"] else b"",
        certificate=fields["certificate"],
    )
    _make(raft, lead, asker, changes.update(raft.config, said))


def _promote(raft: "Raft", lead: "Leader", asker: Asker, question: questions.Question) -> None:
    name, force = question.fields["name"], question.fields["force"]
    change = changes.promote(raft.config, name)
    if not force and not _is_close(raft, lead.progress[name]):
        behind = raft.tail.last.index - lead.progress[name].match
        raise Impossible(Code.NOT_CAUGHT_UP, f"{name} is {behind:,} entries behind")
    _check_quorum(raft, lead, change, force=force)
    _make(raft, lead, asker, change)


def _remove(raft: "Raft", lead: "Leader", asker: Asker, question: questions.Question) -> None:
    change = changes.remove(raft.config, question.fields["name"])
    _check_quorum(raft, lead, change, force=question.fields["force"])
    _make(raft, lead, asker, change)


def _transfer(raft: "Raft", lead: "Leader", asker: Asker, question: questions.Question) -> None:
    name = question.fields["name"]
    _check_time(raft, lead)
    if name == raft.name:
        tell(raft, asker, Code.OK, {"leader": name}, "yes")
        return
    fit = handover.fitting(raft, lead)
    if name and raft.config.seat(name) is None:
        raise Impossible(Code.NO_SUCH_MEMBER, f"{name} is no member")
    if name and name not in fit:
        words = f"{name} does not vote, or is not up and caught up"
        raise Impossible(Code.HEIR_UNFIT, words)
    if not fit:
        raise Impossible(Code.HEIR_UNFIT, "no other voter is up")
    handover.begin(raft, lead, name or fit[0])
    lead.heir_askers.append(asker)


_OPS: dict[str, Callable[["Raft", "Leader", Asker, questions.Question], None]] = {
    "member_list": _list,
    "member_add": _add,
    "member_remove": _remove,
    "member_promote": _promote,
    "member_update": _update,
    "leader_transfer": _transfer,
    "join": _join,
}


# -- when a change may be made -------------------------------------------------------------------
def _check_time(raft: "Raft", lead: "Leader") -> None:
    """Raises `Impossible` unless a change may be made now."""
    config = raft.config
    if not 0 < config.opened_index <= raft.commit:
        raise Impossible(Code.FORMING, "the cluster is still forming")
    if not lead.own_term_committed(raft):
        words = "this leader is new: nothing of its own term is committed yet"
        raise Impossible(Code.CHANGE_PENDING, words)
    if config.index > raft.commit:
        words = f"the change before, entry {config.index}, is not committed yet"
        raise Impossible(Code.CHANGE_PENDING, words)
    if lead.heir:
        raise Impossible(Code.NOT_LEADER, f"{raft.name} is handing over to {lead.heir}")


def _check_quorum(raft: "Raft", lead: "Leader", change: Change, *, force: bool) -> None:
    """The voters there would be must have a majority that is up."""
    after = voters(change.seats)
    up = [n for n in after if n == raft.name or _is_alive(raft, lead.progress[n])]
    needed = majority(len(after))
    if len(up) < needed and not force:
        silent = ", ".join(sorted(set(after) - set(up)))
        raise Impossible(
            Code.QUORUM_AT_RISK,
            f"afterwards {needed} of {len(after)} voters are needed, and {silent} "
            f"{'is' if len(after) - len(up) == 1 else 'are'} silent: nothing could be written",
        )


def _make(
    raft: "Raft",
    lead: "Leader",
    asker: Asker | None,
    change: Change | None,
    level: int | None = None,
) -> None:
    """Append it; whoever asked is told once it is committed. The level stays, or becomes this."""
    _check_time(raft, lead)
    if change is None:
        if asker:
            tell(raft, asker, Code.OK, survey(raft, lead), "yes")
        return
    raft.counters.add("member_changes")
    lead.append(raft, Kind.MEMBERS, pack_change(*change, level or raft.config.level))
    if asker:
        lead.change_askers.append(asker)


def settled(raft: "Raft", lead: "Leader") -> None:
    """A configuration has been committed under this leader."""
    askers, lead.change_askers = lead.change_askers, []
    if askers:
        known = survey(raft, lead)
        for asker in askers:
            tell(raft, asker, Code.OK, known, "yes")


def abandon(raft: "Raft", lead: "Leader", *, handed: bool) -> None:
    """Leadership ended: changes may yet be committed by the next leader, or not."""
    for asker in lead.change_askers:
        tell(raft, asker, Code.TIMEOUT, "the leader changed before it was committed", "unknown")
    for asker in lead.heir_askers:
        if handed:
            tell(raft, asker, Code.OK, {"leader": lead.heir}, "yes")
        else:
            tell(raft, asker, Code.HEIR_UNFIT, "it did not take over")


def give_up_handover(raft: "Raft", lead: "Leader") -> None:
    askers, lead.heir_askers = lead.heir_askers, []
    for asker in askers:
        words = "it did not take over within an election timeout; the leader leads on"
        tell(raft, asker, Code.HEIR_UNFIT, words)


# -- members by themselves -----------------------------------------------------------------------
def promote_who_is_close(raft: "Raft", lead: "Leader") -> None:
    """A learner that was invited to vote does, once voting with it costs no wait (§4.2.1)."""
    if not lead.learners or raft.config.index > raft.commit or lead.heir:
        return
    for progress in lead.learners:
        seat = raft.config.seat(progress.name)
        if seat is None or not seat.promote or not _is_close(raft, progress):
            continue
        change = changes.promote(raft.config, seat.name)
        try:
            _check_quorum(raft, lead, change, force=False)
            _make(raft, lead, None, change)
        except Impossible:
            continue
        return


def raise_level(raft: "Raft", lead: "Leader") -> None:
    """What every member's software knows may be used, once it is written down that all do. Who is
    silent may come back older than it was, so all must be up."""
    config, level = raft.config, raft.release.level
    if config.level >= level or config.index > raft.commit:
        return
    for progress in lead.progress.values():
        if progress.name == raft.name:
            continue
        if progress.release is None or not _is_alive(raft, progress):
            return
        level = min(level, progress.release.level)
    if level <= config.level:
        return
    try:
        _make(raft, lead, None, Change(config.seats, config.removed), level)
    except Impossible:
        return  # it is not the time; the next turn looks again


def announce(raft: "Raft", whom: Peer | None, lead: "Leader | None") -> None:
    """A member whose address or key is another than the configuration's says so to the leader."""
    is_first, raft.announce_us = not raft.announce_us, raft.now.us + _ANNOUNCE_EVERY_US
    own, seat = raft.own, raft.config.seat(raft.name)
    if is_first or own is None or whom is None or seat is None or seat.disk != raft.disk:
        return  # (at first, news may be on its way to this node, too)
    name, peer, key, client = own
    known = (seat.peer, seat.key, seat.client)
    if all(new in ("", b"", old) for new, old in zip(own[1:], known, strict=True)):
        return
    raft.counters.add("announcements")
    fields = {"name": name, "disk": raft.disk, "peer_address": peer, "client_address": client}
    fields["level"] = raft.release.level
    question = questions.pack(questions.Question("join", fields, name, key, raft.certificate))
    if lead is not None:
        ask(raft, lead, (None, 0), Ask(0, 1_000, question))
    else:
        raft.post(whom, RelayAsk(0, 1_000, 2**62, question))


def end_if_removed(raft: "Raft") -> None:
    """A disk that a committed configuration has removed never counts again: its node ends."""
    if raft.leaving_us:
        if raft.now.us >= raft.leaving_us:
            raise Fault(Ending.REMOVED, removed_words(raft.name, raft.reigns.settled.index))
    elif raft.reigns.settled.removed and raft.reigns.settled.has_removed(raft.disk):
        raft.leaving_us = raft.now.us + _LEAVING_US


def removed_words(name: str, index: int) -> str:
    return (
        f"{name} was removed from its cluster (entry {index}), and this node ends. Its data "
        "directory is of no use to the cluster any more: to come back, it must be invited again "
        "(dkvctl member add) and begin with an empty one"
    )


# -- how members are -----------------------------------------------------------------------------
def _is_alive(raft: "Raft", progress: "Progress") -> bool:
    return raft.now.us - progress.heard_us < raft.timing.step_down_us


def _is_close(raft: "Raft", progress: "Progress") -> bool:
    behind = raft.tail.last.index - progress.match
    return progress.match > 0 and _is_alive(raft, progress) and behind <= PROMOTE_GAP_ENTRIES


def survey(raft: "Raft", lead: "Leader") -> dict[str, Any]:
    """The members as the leader sees them."""
    config = raft.config
    return {
        "leader": raft.name,
        "term": raft.term,
        "index": config.index,
        "pending": config.index > raft.commit,
        "commit": raft.commit,
        "level": raft.config.level,
        "members": [_seen(raft, lead, seat) for seat in config.seats],
    }


def _seen(raft: "Raft", lead: "Leader", seat: Seat) -> dict[str, Any]:
    _name, peer, _key, client = raft.introductions.of(seat.name)
    known = {
        "name": seat.name,
        "role": _role(raft, seat),
        "promote": seat.promote,
        "disk": seat.disk,
        "peer_address": seat.peer or peer,
        "client_address": seat.client or client,
        "since": seat.since,
    }
    progress = lead.progress.get(seat.name)
    if seat.name == raft.name or progress is None:
        here = seat.name == raft.name
        rest = dict.fromkeys(("heard_ms", "match", "lag_entries", "lag_ms", "space"))
        own = raft.release.version if here else None
        return {**known, "alive": here, **rest, "version": own}
    behind = max(raft.commit - progress.match, 0)
    return {
        **known,
        "alive": _is_alive(raft, progress),
        "heard_ms": (raft.now.us - progress.heard_us) // MS,
        "match": progress.match,
        "lag_entries": behind,
        "lag_ms": (raft.now.us - progress.level_us) // MS if behind else 0,
        "space": progress.space,
        "version": progress.release.version if progress.release else None,
    }


def _role(raft: "Raft", seat: Seat) -> str:
    if seat.name == raft.name:
        return "leader"
    if seat.voting:
        return "voter"
    return "learner" if seat.disk else "invited"
