"""Changes of the membership as values: from one configuration to the seats of the next.

Owns: what each change does, and what makes it impossible whoever leads. Must never know progress,
terms, or who asked: whether now is the time for a change is decided in `members`.
"""

from collections.abc import Iterable
from typing import NamedTuple

from dkv.errors import Code
from dkv.ids import is_name
from dkv.limits import MEMBERS_MAX
from dkv.raft.configuration import REMOVED_MAX, Configuration, Seat


class Impossible(Exception):
    """A change that cannot be made: its code, and a sentence for people."""

    def __init__(self, code: Code, words: str) -> None:
        super().__init__(words)
        self.code, self.words = code, words


class Change(NamedTuple):
    seats: tuple[Seat, ...]
    removed: tuple[Seat, ...]


def _with(config: Configuration, seat: Seat) -> Change:
    others = tuple(s for s in config.seats if s.name != seat.name)
    return Change((*others, seat), config.removed)


def _seat(config: Configuration, name: str) -> Seat:
    seat = config.seat(name)
    if seat is None:
        known = ", ".join(config.names)
        raise Impossible(Code.NO_SUCH_MEMBER, f"{name} is no member; the members are {known}")
    return seat


def invite(config: Configuration, seat: Seat) -> Change:
    """A seat for who may come: no disk, no vote."""
    if not is_name(seat.name):
        raise Impossible(Code.BAD_REQUEST, f"{seat.name!r} cannot be a node's name")
    if config.seat(seat.name) is not None:
        raise Impossible(Code.ALREADY_MEMBER, f"{seat.name} is a member already")
    if len(config.seats) >= MEMBERS_MAX:
        words = f"a cluster has at most {MEMBERS_MAX} members, and this one has them"
        raise Impossible(Code.MEMBERS_FULL, words)
    return _with(config, seat._replace(disk=0, voting=False))


def join(config: Configuration, came: Seat) -> Change | None:
    """An invited node has come with its disk, or a member says where it is now. None: nothing is
    new."""
    seat = config.seat(came.name)
    if seat is None:
        words = f"{came.name} is no member and was not invited"
        raise Impossible(Code.NOT_INVITED, f"{words}: `dkvctl member add {came.name}`")
    if config.has_removed(came.disk):
        words = f"the disk of {came.name} was removed from this cluster: it must begin empty"
        raise Impossible(Code.ANOTHER_DISK, words)
    if seat.disk not in (0, came.disk):
        words = (
            f"{came.name} is a member with another disk than the one that has come now. If the old "
            f"one is lost: `dkvctl member replace {came.name} {came.name}`"
        )
        raise Impossible(Code.ANOTHER_DISK, words)
    new = seat._replace(
        disk=came.disk,
        peer=came.peer or seat.peer,
        client=came.client or seat.client,
        key=came.key or seat.key,
        certificate=came.certificate or seat.certificate,
    )
    return None if new == seat else _with(config, new)


def promote(config: Configuration, name: str) -> Change:
    seat = _seat(config, name)
    if seat.voting or not seat.disk:
        what = "votes already" if seat.voting else "has not come yet"
        raise Impossible(Code.NOT_A_LEARNER, f"{name} {what}")
    return _with(config, seat._replace(voting=True, promote=False))


def remove(config: Configuration, name: str) -> Change:
    """The member's disk never counts again; its name may be invited anew."""
    gone = _seat(config, name)
    seats = tuple(seat for seat in config.seats if seat is not gone)
    if not any(seat.voting for seat in seats):
        raise Impossible(Code.QUORUM_AT_RISK, f"{name} is the last voter: nobody would be left")
    removed = (*config.removed, gone) if gone.disk else config.removed
    return Change(seats, removed[-REMOVED_MAX:])


def update(config: Configuration, said: Seat) -> Change | None:
    """Another address, key or certificate; empty ones stay as they are. None: nothing is new."""
    seat = _seat(config, said.name)
    new = seat._replace(
        peer=said.peer or seat.peer,
        client=said.client or seat.client,
        key=said.key or seat.key,
        certificate=said.certificate or seat.certificate,
    )
    return None if new == seat else _with(config, new)


def voters(seats: Iterable[Seat]) -> tuple[str, ...]:
    return tuple(seat.name for seat in seats if seat.voting)
