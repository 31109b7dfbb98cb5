"""A backup, a part at a time, as of the moment at which it began.

Owns: what a part holds, and when a replica must not go on with a backup. Must never know who asks.
Nothing is remembered here between two parts: who saves says where it stands, and any replica that
has applied the entry at which the backup began can go on with it.

What is no version (sums, numbers, limits) is taken in one step when it begins, at entry `index` and
revision `revision`; versions up to that revision never change, and there will be no others.
"""

from typing import Any

from dkv.errors import Code
from dkv.kv.rows import Rows
from dkv.kv.sessions import pack_answer
from dkv.kv.state import State
from dkv.kv.store import SUM_MASK
from dkv.limits import SUB_MAX
from dkv.requests import Malformed


class Part:
    def __init__(self, state: State, fields: dict[str, Any]) -> None:
        self._state = state
        self._revision: int = fields["revision"]
        self._after: int = fields["after"]
        self._compacted: int = fields["compacted"]
        if fields["cluster"] not in (b"", state.cluster):
            raise Malformed(Code.BAD_REQUEST, "the backup began in another cluster than this")
        if fields["index"] > state.applied or self._revision > state.revision:
            words = f"this node has applied {state.applied}, at revision {state.revision}"
            raise Malformed(Code.FUTURE_REVISION, words)

    def step(self) -> bytes:
        """The answer, packed."""
        state = self._state
        detail: dict[str, Any] = {}
        if not self._revision:
            detail["of"] = facts_of(state)
            self._revision, self._after = state.revision, 0
        elif self._has_lost_rows():
            words = "versions that the backup still lacks were compacted: begin it again"
            return pack_answer(Code.COMPACTED, state.revision, {"words": words})
        rows = Rows(state.store, self._revision, self._after)
        detail["versions"] = rows.take()
        if detail["versions"]:
            detail["next"] = rows.after
        return pack_answer(Code.OK, state.revision, detail)

    def _has_lost_rows(self) -> bool:
        compacted = self._state.store.meta().compacted
        return compacted != self._compacted and self._after // SUB_MAX <= compacted


def facts_of(state: State) -> dict[str, Any]:
    """What a backup must know beside the versions, of one moment."""
    return {
        "cluster": state.cluster,
        "index": state.applied,
        "term": state.term,
        "revision": state.revision,
        "compacted": state.store.meta().compacted,
        "held": state.held & SUM_MASK,
        "written": state.written & SUM_MASK,
        "sessions": len(state.sessions),
        "limits": state.limits._asdict(),
    }
