"""A shell's links to the other nodes, by name.

Owns: one DEALER per member, made anew when its key or address changes. Must never know what it
carries: sealed letters name a member, and only here does a name become an address and a key.

ZeroMQ tries a node that is away more and more seldom, at last every 2 s, for a name that nobody has
may be long asked for. Who has just come in at this node's door is there again: its link is made
anew, so that a node that was restarted hears of its leader at once.
"""

from zmq.utils import z85

from actors.mailbox import Context
from actors.port import KeyPair, Keys, Link
from dkv.counters import Counters
from dkv.messages import Roster


class Transport:
    def __init__(
        self,
        context: Context,
        node: str,
        keys: Keys,
        frame_bytes_max: int,
        counters: Counters,
        came: set[str],
    ) -> None:
        """`came`: members that have connected to this node, put in by the doorkeeper's thread."""
        self.counters = counters
        self._keys = keys
        self._context = context
        self._node = node
        self._frame_bytes_max = frame_bytes_max
        self._came = came
        self._links: dict[str, Link] = {}
        self._keys_of: dict[str, KeyPair | None] = {}

    def introduce(self, roster: Roster) -> None:
        """Links to exactly these members; one whose key is not known cannot be reached yet."""
        own = self._keys()
        members = {
            name: (f"tcp://{peer}", key)
            for name, peer, key, _client in roster.members
            if name != self._node and (key or own is None)
        }
        for name in [n for n in self._links if n not in members]:
            self._links.pop(name).close()
        for name, (endpoint, key) in members.items():
            link = self._links.get(name)
            server_key = z85.encode(key) if key else b""
            if link is not None and (*link.target, self._keys_of[name]) == (
                endpoint,
                server_key,
                own,
            ):
                continue
            self._keys_of[name] = own
            self._connect(name, endpoint, server_key)

    def _connect(self, name: str, endpoint: str, server_key: bytes) -> None:
        if name in self._links:
            self._links[name].close()
        own = self._keys_of[name]
        self._links[name] = Link(self._context, endpoint, own, server_key, self._frame_bytes_max)

    def post(self, member: str, frame: bytes) -> None:
        link = self._links.get(member)
        if link is None:
            self.counters.add("frames_dropped_member_unknown")
        elif not link.post(frame):
            self.counters.add("frames_dropped_pipe_full")
            if member in self._came:
                self._came.discard(member)
                self._connect(member, *link.target)
        elif self._came:
            self._came.discard(member)

    def close(self) -> None:
        for link in self._links.values():
            link.close()
        self._links.clear()
