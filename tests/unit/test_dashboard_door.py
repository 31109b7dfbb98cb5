"""What the dashboard's web server answers to whoever asks, and what it refuses to whom."""

import asyncio
import json
from base64 import b64encode
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

pytest.importorskip("aiohttp", reason="aiohttp is not installed")

from aiohttp import ClientResponse, ClientSession, web

from cli.dashboard.door import Door
from cli.dashboard.hub import Hub, Node
from cli.dashboard.ring import Command, Entry
from cli.dashboard.site import PAGES_MAX, VALUE_BYTES_SHOWN, Site
from dkv.client.calls import Deleted, Item, Written
from dkv.errors import Code, ConditionFailed, Uncertain

SECRET = "a secret of the tests"


class Keys:
    """A cluster of one key: what a page's questions reach."""

    def __init__(self) -> None:
        self.value, self.revision = b"v", 7
        self.lost = False

    async def get(self, key: bytes) -> Item | None:
        if self.lost:
            raise Uncertain(Code.TIMEOUT, "no answer came", "unknown")
        if key != b"k" or not self.revision:
            return None
        return Item(key, self.value, self.revision, 3, 2, "web", 1_000)

    async def put(self, key: bytes, value: str, *, expected: int) -> Written:
        self._expect(expected)
        self.value, self.revision = value.encode(), self.revision + 1
        return Written(self.revision, self.revision, "n1")

    async def delete(self, key: bytes, *, expected: int) -> Deleted:
        self._expect(expected)
        self.revision = 0
        return Deleted(9, 1, False, "n1")

    def _expect(self, expected: int) -> None:
        if expected != self.revision:
            raise ConditionFailed(Code.CONDITION_FAILED, "it is elsewhere")


class Desk:
    """A site on a port of its own, and a browser that has its cookie."""

    def __init__(self, writes: bool) -> None:
        self.hub, self.keys = Hub(), Keys()
        self.hub.nodes["n1"] = Node("n1", "n1")
        self.door = Door(1, SECRET, ["Desk.example"])
        self.site = Site(self.hub, self.keys, self.door, writes)  # type: ignore[arg-type]

    async def __aenter__(self) -> "Desk":
        self._runner = web.AppRunner(self.site.app(), access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}"
        self.stranger = ClientSession()
        self.browser = ClientSession(cookies={"dkv-1": SECRET})
        return self

    async def __aexit__(self, *_: object) -> None:
        self.site.close()
        await self.browser.close()
        await self.stranger.close()
        await self._runner.cleanup()

    async def get(self, path: str, **headers: str) -> ClientResponse:
        return await self.browser.get(self.url + path, headers=headers, allow_redirects=False)

    async def post(self, path: str, body: object, **headers: str) -> ClientResponse:
        return await self.browser.post(
            self.url + path, data=json.dumps(body), headers=headers, allow_redirects=False
        )


def at_desk(test: Callable[[Desk], Awaitable[None]], writes: bool = True) -> None:
    async def run() -> None:
        async with Desk(writes) as desk:
            await test(desk)

    asyncio.run(run())


def told(key: bytes) -> str:
    return b64encode(key).decode()


# -- who may ask ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:1", 200),
        ("LOCALHOST", 200),
        ("192.0.2.7:8080", 200),
        ("[::1]:8080", 200),
        ("[::1]", 200),
        ("desk.example:8080", 200),
        ("evil.example", 421),
        ("evil.example:8080", 421),
        ("desk.example.evil.example", 421),
        ("localhost:x", 421),
        ("", 421),
    ],
)
def test_a_name_that_is_not_ours_is_refused(host: str, status: int) -> None:
    async def test(desk: Desk) -> None:
        answer = await desk.get("/", Host=host)
        assert answer.status == status
        if status == 421:
            assert "--host" in (await answer.json())["words"]

    at_desk(test)


@pytest.mark.parametrize(
    "path", ["/api/stream", "/api/log", "/api/entry", "/api/key?key=aw==", "/page/main.js", "/x"]
)
def test_nothing_is_told_without_the_cookie(path: str) -> None:
    async def test(desk: Desk) -> None:
        for cookies in ({}, {"dkv-1": "wrong"}, {"dkv-2": SECRET}):
            answer = await desk.stranger.get(desk.url + path, cookies=cookies)
            assert answer.status == 401
            assert "open the link" in (await answer.json())["words"]

    at_desk(test)


def test_a_person_without_the_cookie_is_asked_for_the_secret() -> None:
    async def test(desk: Desk) -> None:
        answer = await desk.stranger.get(desk.url + "/", allow_redirects=False)
        assert (answer.status, answer.headers["Location"]) == (303, "/enter")
        assert "Secret" in await (await desk.stranger.get(desk.url + "/enter")).text()

    at_desk(test)


def test_the_link_and_the_form_give_the_cookie_and_a_wrong_secret_none() -> None:
    async def test(desk: Desk) -> None:
        for ask in (
            lambda s: desk.stranger.get(f"{desk.url}/?secret={s}", allow_redirects=False),
            lambda s: desk.stranger.post(
                f"{desk.url}/enter", data={"secret": s}, allow_redirects=False
            ),
        ):
            answer = await ask("wrong")
            assert (answer.headers["Location"], answer.cookies) == ("/enter#wrong", {})
            answer = await ask(SECRET)
            assert answer.headers["Location"] == "/"
            cookie = answer.cookies["dkv-1"]
            assert cookie["httponly"]
            assert cookie["samesite"] == "Lax"
            desk.stranger.cookie_jar.clear()

    at_desk(test)


@pytest.mark.parametrize(
    "path", ["/", "/page/main.js", "/api/key?key=aw==", "/none", "/api/stream"]
)
def test_every_answer_keeps_the_page_to_itself(path: str) -> None:
    async def test(desk: Desk) -> None:
        answer = await desk.get(path)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        answer.close()

    at_desk(test)


def test_health_is_told_to_anybody() -> None:
    async def test(desk: Desk) -> None:
        assert (await desk.stranger.get(desk.url + "/healthz")).status == 200

    at_desk(test)


@pytest.mark.parametrize(
    "path",
    ["/page/..%2Fdoor.py", "/page/%2e%2e/door.py", "/page/door.py", "/page/", "/page/none.js"],
)
def test_only_the_pages_own_files_are_sent(path: str) -> None:
    async def test(desk: Desk) -> None:
        answer = await desk.browser.get(desk.url + path)
        assert answer.status == 404

    at_desk(test)


# -- writes --------------------------------------------------------------------------------------
def test_without_allow_writes_there_is_nowhere_to_write() -> None:
    async def test(desk: Desk) -> None:
        token = {"X-Dkv-Token": desk.door.token}
        for path in ("/api/put", "/api/delete"):
            answer = await desk.post(
                path, {"key": told(b"k"), "value": "w", "expected": 7}, **token
            )
            assert answer.status == 404
        assert desk.keys.value == b"v"

    at_desk(test, writes=False)


def test_a_write_needs_the_token_and_our_own_origin() -> None:
    async def test(desk: Desk) -> None:
        body, token = {"key": told(b"k"), "value": "w", "expected": 7}, desk.door.token
        for headers in (
            {},
            {"X-Dkv-Token": "wrong"},
            {"X-Dkv-Token": token, "Origin": "http://evil.example"},
            {"X-Dkv-Token": token, "Origin": "null"},
        ):
            assert (await desk.post("/api/put", body, **headers)).status == 403
        assert desk.keys.value == b"v"
        own = {"X-Dkv-Token": token, "Origin": desk.url}
        assert await (await desk.post("/api/put", body, **own)).json() == {"revision": 8}
        assert desk.keys.value == b"w"

    at_desk(test)


def test_a_write_over_a_change_that_was_not_seen_changes_nothing() -> None:
    async def test(desk: Desk) -> None:
        token = {"X-Dkv-Token": desk.door.token}
        for path in ("/api/put", "/api/delete"):
            body = {"key": told(b"k"), "value": "w", "expected": 6}
            answer = await desk.post(path, body, **token)
            assert answer.status == 409
            assert "nothing was done" in (await answer.json())["words"]
        body = {"key": told(b"k"), "expected": 7}
        assert await (await desk.post("/api/delete", body, **token)).json() == {"deleted": 1}

    at_desk(test)


@pytest.mark.parametrize(
    "body",
    [
        *(None, [], "x", {}, {"key": 5}, {"key": "?"}, {"key": told(b"k")}),
        {"key": told(b"k"), "value": 5, "expected": 7},
        {"key": told(b"k"), "value": "w"},
        {"key": told(b"k"), "value": "w", "expected": -1},
        {"key": told(b"k"), "value": "w", "expected": True},
        {"key": told(b"k"), "value": "w", "expected": 1 << 70},
    ],
)
def test_a_write_that_makes_no_sense_is_a_sentence(body: object) -> None:
    async def test(desk: Desk) -> None:
        answer = await desk.post("/api/put", body, **{"X-Dkv-Token": desk.door.token})
        assert answer.status == 400
        assert (await answer.json())["words"]

    at_desk(test)


# -- on demand -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "path",
    [
        *(
            "/api/key",
            "/api/key?key=%ff",
            "/api/key?key=a",
            "/api/key?key=a%3Fw==",
            "/api/entry?index=1",
        ),
        "/api/log",
        "/api/log?before=x&position=0&limit=9",
        "/api/log?before=9&position=0&limit=" + "9" * 5_000,
        "/api/log?before=9&position=0&limit=-1",
        "/api/log?before=9&position=0&limit=9&prefix=a",
        "/api/stream?prefix=a",
    ],
)
def test_a_question_that_makes_no_sense_is_a_sentence(path: str) -> None:
    async def test(desk: Desk) -> None:
        answer = await desk.get(path)
        assert answer.status == 400
        assert (await answer.json())["words"]

    at_desk(test)


def test_a_value_is_told_when_asked_for_and_a_large_one_cut() -> None:
    async def test(desk: Desk) -> None:
        desk.keys.value = bytes(100_000)
        found = await (await desk.get("/api/key?key=aw==")).json()
        assert found["value"] == told(bytes(VALUE_BYTES_SHOWN))
        assert (found["size"], found["revision"], found["author"]) == (100_000, 7, "web")
        assert await (await desk.get("/api/key?key=eA==")).json() == {"found": False}
        desk.keys.lost = True
        answer = await desk.get("/api/key?key=aw==")
        assert (answer.status, (await answer.json())["words"]) == (504, "no answer came")

    at_desk(test)


async def next_news(stream: ClientResponse) -> dict[str, Any]:
    line = b""
    while not line.startswith(b"data: "):
        line = await stream.content.readline()
    news: dict[str, Any] = json.loads(line[6:])
    return news


def add(desk: Desk, index: int) -> None:
    command = Command("put", b"a" if index % 2 else b"\xff", "web", 0, 5, "")
    desk.hub.ring.add(Entry(index, 1, 1_000, [command]))


def test_a_stream_tells_what_is_new_and_only_what_its_filter_lets_through() -> None:
    async def test(desk: Desk) -> None:
        add(desk, 1)
        add(desk, 2)
        stream = await desk.get(f"/api/stream?prefix={told(b'a')}")
        assert [row[0] for row in (await next_news(stream))["rows"]] == [1]
        add(desk, 3)
        assert [row[0] for row in (await next_news(stream))["rows"]] == [3]
        stream.close()
        whole = await (await desk.get("/api/log?before=3&position=0&limit=9")).json()
        assert [row[4] for row in whole["rows"]] == ["a", {"base64": "/w=="}]

    at_desk(test)


def test_the_token_is_told_only_where_writes_are_allowed() -> None:
    async def readable(desk: Desk) -> None:
        stream = await desk.get("/api/stream")
        assert (await next_news(stream))["token"] == ""
        stream.close()

    at_desk(readable, writes=False)


def test_so_many_pages_may_be_open_and_a_page_that_is_closed_makes_room() -> None:
    async def test(desk: Desk) -> None:
        streams = [await desk.get("/api/stream") for _ in range(PAGES_MAX)]
        for stream in streams:
            await next_news(stream)
        refused = await desk.get("/api/stream")
        assert refused.status == 503
        assert "close one" in (await refused.json())["words"]
        streams.pop().close()
        index = 0
        while (again := await desk.get("/api/stream")).status == 503:
            index += 1
            add(desk, index)  # what is written to the closed one shows that it is gone
        streams.append(again)
        for stream in streams:
            stream.close()

    at_desk(test)
