"""The dashboard's addresses: the page's own files, its stream, and what is asked on demand.

Owns: what each address answers, how many pages may be open, how long a page may be stuck. Must
never know how the cluster is watched; whoever asks has passed the door.
"""

import asyncio
import json
import time
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

from aiohttp import web

from cli.dashboard.door import Door, refusal
from cli.dashboard.feed import Feed
from cli.dashboard.hub import Hub
from cli.dashboard.ring import Filter
from dkv.client import AsyncClient
from dkv.errors import (
    ConditionFailed,
    Denied,
    DkvError,
    Invalid,
    Unavailable,
    Uncertain,
)
from dkv.limits import INT_MAX

PAGES_MAX = 32
VALUE_BYTES_SHOWN = 16 * 1024
_BODY_BYTES_MAX = 8 * 1024 * 1024  # a value of 1 MiB, each byte written as \uNNNN, and its key
_OLDER_MAX = 1_000
_DIGITS_MAX = 19
_LOOK_S = 0.1  # how often a page is told what is new
_STUCK_S = 30.0  # a page that takes nothing for so long is let go; it comes again by itself
_FILES = Path(__file__).with_name("page")
_KINDS = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_STATUS_OF: tuple[tuple[type[DkvError], HTTPStatus], ...] = (
    (ConditionFailed, HTTPStatus.CONFLICT),
    (Denied, HTTPStatus.FORBIDDEN),
    (Unavailable, HTTPStatus.SERVICE_UNAVAILABLE),
    (Invalid, HTTPStatus.BAD_REQUEST),
    (Uncertain, HTTPStatus.GATEWAY_TIMEOUT),
)

_Facts = Callable[[web.Request], Awaitable[dict[str, Any]]]
_Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Malformed(Exception):
    """Of a request: a sentence."""


class Site:
    """`writes`: whether pages may change keys."""

    def __init__(self, hub: Hub, cluster: AsyncClient, door: Door, writes: bool) -> None:
        self._hub, self._cluster, self._door, self._writes = hub, cluster, door, writes
        self._pages = 0
        self._closing = False

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._door.check], client_max_size=_BODY_BYTES_MAX)
        routes = [
            web.get("/healthz", self._health),
            web.get("/", self._index),
            web.get("/enter", self._ask_secret),
            web.post("/enter", self._enter),
            web.get("/page/{name}", self._file),
            web.get("/api/stream", self._stream),
            web.get("/api/log", _asked(self._log)),
            web.get("/api/entry", _asked(self._entry)),
            web.get("/api/key", _asked(self._key)),
        ]
        if self._writes:
            routes.append(web.post("/api/put", _asked(self._put)))
            routes.append(web.post("/api/delete", _asked(self._delete)))
        app.add_routes(routes)
        return app

    def close(self) -> None:
        """Open streams end at their next look."""
        self._closing = True

    # -- files -----------------------------------------------------------------------------------
    async def _health(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(text="ok\n")

    async def _index(self, _request: web.Request) -> web.StreamResponse:
        return _sent("index.html")

    async def _ask_secret(self, _request: web.Request) -> web.StreamResponse:
        return _sent("enter.html")

    async def _enter(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        return self._door.enter(str(form.get("secret", "")))

    async def _file(self, request: web.Request) -> web.StreamResponse:
        return _sent(request.match_info["name"])

    # -- the stream ------------------------------------------------------------------------------
    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events. Whatever a page has not taken yet waits in its connection, and
        nothing is made for it meanwhile."""
        try:
            feed = Feed(self._hub, _filter(request), self._door.token if self._writes else "")
        except Malformed as error:
            return refusal(HTTPStatus.BAD_REQUEST, str(error))
        if self._pages >= PAGES_MAX:
            words = f"{PAGES_MAX} pages are open, which is the most: close one"
            return refusal(HTTPStatus.SERVICE_UNAVAILABLE, words)
        kind = {"Content-Type": "text/event-stream"}
        response = web.StreamResponse(headers={**self._door.headers, **kind})
        self._pages += 1
        try:
            await response.prepare(request)
            await response.write(b"retry: 1000\n\n")
            while not self._closing:
                news = feed.next(_now_ms())
                if news:
                    text = json.dumps(news, ensure_ascii=False, separators=(",", ":"))
                    async with asyncio.timeout(_STUCK_S):
                        await response.write(f"data: {text}\n\n".encode())
                await asyncio.sleep(_LOOK_S)
        except (ConnectionError, TimeoutError):
            pass  # the page is gone, or stuck
        finally:
            self._pages -= 1
        return response

    # -- on demand -------------------------------------------------------------------------------
    async def _log(self, request: web.Request) -> dict[str, Any]:
        """Rows before one that the page has, the oldest first."""
        index, position = _number(request, "before"), _number(request, "position")
        limit = min(_number(request, "limit"), _OLDER_MAX)
        rows = self._hub.ring.before(index, position, _filter(request), limit)
        end = "That is all this dashboard has kept; dkvctl tail --from goes back further."
        return {"rows": rows, "end": "" if rows else end}

    async def _entry(self, request: web.Request) -> dict[str, Any]:
        """When each node had it."""
        entry = self._hub.ring.find(_number(request, "index"), _number(request, "term"))
        sights = entry.sights if entry is not None else {}
        return {"nodes": [(name, *sight) for name, sight in sorted(sights.items())]}

    async def _key(self, request: web.Request) -> dict[str, Any]:
        item = await self._cluster.get(_bytes(request.query.get("key")))
        if item is None:
            return {"found": False}
        value = item.value or b""
        return {
            "found": True,
            "value": b64encode(value[:VALUE_BYTES_SHOWN]).decode(),
            "size": len(value),
            "revision": item.key_revision,
            **{f: getattr(item, f) for f in ("created", "version", "author", "wall")},
        }

    # -- writes ----------------------------------------------------------------------------------
    async def _put(self, request: web.Request) -> dict[str, Any]:
        body = await _body(request)
        value = body.get("value")
        if type(value) is not str:
            raise Malformed("`value` must be a string")
        done = await self._cluster.put(_bytes(body.get("key")), value, expected=_expected(body))
        return {"revision": done.key_revision}

    async def _delete(self, request: web.Request) -> dict[str, Any]:
        body = await _body(request)
        done = await self._cluster.delete(_bytes(body.get("key")), expected=_expected(body))
        return {"deleted": done.count}


def _asked(answer: _Facts) -> _Answer:
    """An answer in JSON; what goes wrong is a sentence with a status."""

    async def handler(request: web.Request) -> web.StreamResponse:
        try:
            return web.json_response(await answer(request))
        except Malformed as error:
            return refusal(HTTPStatus.BAD_REQUEST, str(error))
        except ConditionFailed:
            words = "it has changed meanwhile, and nothing was done: look at it again"
            return refusal(HTTPStatus.CONFLICT, words)
        except DkvError as error:
            return refusal(_status_of(error), str(error))

    return handler


def _status_of(error: DkvError) -> HTTPStatus:
    found: Iterable[HTTPStatus] = (status for kind, status in _STATUS_OF if isinstance(error, kind))
    return next(iter(found), HTTPStatus.BAD_GATEWAY)


def _sent(name: str) -> web.Response:
    path = _FILES / name
    if "/" in name or path.suffix not in _KINDS or not path.is_file():
        return web.Response(status=HTTPStatus.NOT_FOUND, text="there is no such page\n")
    return web.Response(body=path.read_bytes(), content_type=_KINDS[path.suffix], charset="utf-8")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


# -- what was asked ------------------------------------------------------------------------------
def _filter(request: web.Request) -> Filter:
    return Filter(_bytes(request.query.get("prefix", "")), request.query.get("author", ""))


def _number(request: web.Request, name: str) -> int:
    text = request.query.get(name, "")
    if text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX and int(text) <= INT_MAX:
        return int(text)
    raise Malformed(f"`{name}` must be a number")


def _bytes(text: Any) -> bytes:
    with suppress(ValueError):
        if isinstance(text, str):
            return b64decode(text, validate=True)
    raise Malformed("keys are told in base64")


def _expected(body: dict[str, Any]) -> int:
    expected = body.get("expected")
    if type(expected) is not int or not 0 <= expected <= INT_MAX:
        raise Malformed("`expected` must be the revision that was seen (0: there was no such key)")
    return expected


async def _body(request: web.Request) -> dict[str, Any]:
    with suppress(ValueError):
        body = await request.json()
        if isinstance(body, dict):
            return body
    raise Malformed("the body must be a JSON object")
