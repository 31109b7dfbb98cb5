"""Who appears in a play: an authority, servers it vouches for, a client; as files and as keys.

Owns: their making, also of what is wrong on purpose. Must never know a play. They are drawn anew
for each run of the kit and lie in a folder that is gone with it.
"""

from pathlib import Path
from typing import NamedTuple

from dkv.security.authority import Authority, create_authority
from dkv.security.certificate import Certificate
from dkv.security.files import write_new
from dkv.security.identity import KIND
from dkv.security.secrets import CurvePair, draw_curve_pair, write_secret
from dkv.security.trust import Trust

_DAYS = 2


class Files(NamedTuple):
    """What a client is given: paths."""

    trust: Path
    certificate: Path
    key: Path


class Cast:
    """The server's key pair is `old`. The trust files: `plain` names it; `two` names `new` as well,
    with a higher serial; `expired` also `gone`, the newest of all, whose time is over; `forged`
    names `old`, signed by another authority. `open_key`: others can read the client's key file."""

    def __init__(self, folder: Path, now_ms: int) -> None:
        self.folder = folder
        authority = create_authority(folder / "authority.key", None)
        founded = authority.found(now_ms // 1_000, _DAYS)
        self.old, self.new, self.gone = draw_curve_pair(), draw_curve_pair(), draw_curve_pair()
        old = _server(authority, self.old, now_ms)
        new = _server(authority, self.new, now_ms + 1_000)
        late = authority.certify("server", self.gone.public, "server", now_ms + 2_000, -1)
        client = draw_curve_pair()
        self.client = authority.certify("app", client.public, "writer", now_ms, _DAYS)
        key, certificate = folder / "app.key", folder / "app.cert"
        write_secret(key, KIND, client.secret, None)
        write_new(certificate, self.client.text, 0o644)
        self.plain = Files(self._trust("trust", founded, old), certificate, key)
        self.two = self.plain._replace(trust=self._trust("two", founded, old, new))
        self.expired = self.plain._replace(trust=self._trust("expired", founded, old, late))
        self.forged = self.plain._replace(trust=self._forged(authority, now_ms))
        self.open_key = self.plain._replace(key=folder / "open.key")
        write_new(self.open_key.key, key.read_bytes(), 0o644)
        self.open_key.key.chmod(0o644)  # whatever the umask says

    def _trust(self, name: str, founded: Trust, *servers: Certificate) -> Path:
        path = self.folder / name
        write_new(path, founded._replace(server_certificates=servers).text, 0o644)
        return path

    def _forged(self, authority: Authority, now_ms: int) -> Path:
        """The true server's key, vouched for by another authority than the file's."""
        other = create_authority(self.folder / "other.key", None)
        stranger = _server(other, self.old, now_ms)
        return self._trust("forged", authority.found(now_ms // 1_000, _DAYS), stranger)


def _server(authority: Authority, pair: CurvePair, now_ms: int) -> Certificate:
    return authority.certify("server", pair.public, "server", now_ms, _DAYS)
