"""Who may ask the dashboard: everything that comes by HTTP passes here first.

Owns: the secret of the link and the cookie it becomes, under which names browsers may call, the
headers that keep a page to itself, what a write must show. Must never know what is asked.

The browser is the danger: it asks on behalf of any page that somebody has open. So a name that is
not ours is refused (a stranger's name may be made to lead to this address), nothing is told
without the cookie, and a write needs a token that only our own page can read.
"""

import ipaddress
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from secrets import compare_digest, token_urlsafe

from aiohttp import web

SECRET_LETTERS_MIN = 16
_COOKIE_S = 30 * 24 * 3600
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
# What a browser needs before it has shown the secret.
_OPEN = frozenset(("/healthz", "/enter", "/page/dashboard.css", "/page/icon.svg", "/page/theme.js"))

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Door:
    """`secret` empty: one is drawn. `names`: host names by which browsers may call, beside
    localhost and addresses in figures. `token` is what a write must show."""

    def __init__(self, port: int, secret: str, names: Iterable[str]) -> None:
        self.secret = secret or token_urlsafe(24)
        self.token = token_urlsafe(24)
        self._cookie = f"dkv-{port}"
        self._names = {"localhost", *(name.lower() for name in names)}

    @web.middleware
    async def check(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        response: web.StreamResponse | None = self._turn_away(request)
        if response is None:
            response = await _handled(request, handler)
        if not response.prepared:  # a stream has sent its headers
            response.headers.update(_HEADERS)
        return response

    @property
    def headers(self) -> dict[str, str]:
        """For an answer that sends its own."""
        return _HEADERS

    def _turn_away(self, request: web.Request) -> web.Response | None:
        if not self._knows(request.host):
            words = (
                f"this dashboard is not known as {request.host}: call it by its address, by "
                "localhost, or start it with --host and that name"
            )
            return refusal(HTTPStatus.MISDIRECTED_REQUEST, words)
        if request.path not in _OPEN and not self._has_cookie(request):
            return self._ask_for_secret(request)
        if request.method == "POST" and not self._is_own_write(request):
            words = "this did not come from the dashboard's own page: reload it"
            return refusal(HTTPStatus.FORBIDDEN, words)
        return None

    def _knows(self, host: str) -> bool:
        name = host.lower()
        if not name.endswith("]"):  # an IPv6 address without a port
            name, _, port = name.rpartition(":") if ":" in name else (name, "", "")
            if port and not (port.isascii() and port.isdecimal()):
                return False
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True

    # -- the secret ------------------------------------------------------------------------------
    def is_secret(self, shown: str) -> bool:
        return compare_digest(shown.encode(), self.secret.encode())

    def _has_cookie(self, request: web.Request) -> bool:
        return self.is_secret(request.cookies.get(self._cookie, ""))

    def _ask_for_secret(self, request: web.Request) -> web.Response | None:
        """The link's own visit goes on to `enter`; a person gets a page, a program a sentence."""
        if request.path == "/" and "secret" in request.query:
            return self.enter(request.query["secret"])
        if request.path == "/":
            return _go_to("/enter")
        return refusal(HTTPStatus.UNAUTHORIZED, "open the link that the dashboard has printed")

    def enter(self, shown: str) -> web.Response:
        """To the dashboard with a cookie; with a wrong secret, to be asked again."""
        right = self.is_secret(shown)
        response = _go_to("/" if right else "/enter#wrong")
        if right:
            response.set_cookie(
                self._cookie, self.secret, max_age=_COOKIE_S, httponly=True, samesite="Lax"
            )
        return response

    # -- writes ----------------------------------------------------------------------------------
    def _is_own_write(self, request: web.Request) -> bool:
        """Its origin, where the browser tells it, is this very host; and it has read the token,
        which no page of another origin can."""
        origin = request.headers.get("Origin")
        if origin is not None and origin.partition("://")[2] != request.host:
            return False
        if request.path == "/enter":
            return True
        return compare_digest(request.headers.get("X-Dkv-Token", "").encode(), self.token.encode())


async def _handled(request: web.Request, handler: _Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:  # no such page, too large a body
        return web.Response(status=error.status, text=error.reason)


def _go_to(path: str) -> web.Response:
    return web.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": path})


def refusal(status: HTTPStatus, words: str) -> web.Response:
    return web.json_response({"words": words}, status=status)
