"""A headless Chromium, driven through its debugging protocol.

Owns: the browser's process and profile, its pages, and whatever they complained of. Must never know
what a page shows. Calls block; everything runs in one event loop of its own.
"""

import asyncio
import base64
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import aiohttp

T = TypeVar("T")
PATIENCE_S = 15.0
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--remote-debugging-port=0",
)
_KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowDown": 40, "ArrowUp": 38, " ": 32}


def chromium() -> str | None:
    """Where one is installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Browser:
    def __init__(self) -> None:
        program = chromium()
        assert program is not None
        self._loop = asyncio.new_event_loop()
        self._profile = tempfile.mkdtemp(prefix="dkv-chromium-")
        self._process = subprocess.Popen(
            [program, *_FLAGS, f"--user-data-dir={self._profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._pages: dict[str, Page] = {}
        self._asked = 0
        self.wait_for(self._connect())

    def __enter__(self) -> "Browser":
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.wait_for(self._disconnect())
        self._process.kill()
        self._process.wait()
        self._loop.close()
        shutil.rmtree(self._profile, ignore_errors=True)

    def wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

    async def _connect(self) -> None:
        """Where it listens, it writes into its profile."""
        told = Path(self._profile) / "DevToolsActivePort"
        give_up = time.monotonic() + PATIENCE_S
        while not (told.exists() and len(told.read_text().splitlines()) == 2):
            assert time.monotonic() < give_up, "chromium did not start"
            await asyncio.sleep(0.05)
        port, path = told.read_text().splitlines()
        self._session = aiohttp.ClientSession()
        self._socket = await self._session.ws_connect(
            f"ws://127.0.0.1:{port}{path}", max_msg_size=0
        )
        self._reader = asyncio.create_task(self._read())

    async def _disconnect(self) -> None:
        self._reader.cancel()
        with suppress(asyncio.CancelledError):
            await self._reader
        await self._socket.close()
        await self._session.close()

    async def _read(self) -> None:
        async for message in self._socket:
            told = json.loads(message.data)
            if "id" in told:
                answer = self._answers.pop(told["id"])
                if not answer.done():
                    answer.set_result(told)
            elif told.get("sessionId") in self._pages:
                self._pages[told["sessionId"]].note(told["method"], told["params"])

    async def ask(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        self._asked += 1
        answer: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        self._answers[self._asked] = answer
        message = {"id": self._asked, "method": method, "params": params}
        await self._socket.send_json(message | ({"sessionId": session} if session else {}))
        told = await asyncio.wait_for(answer, PATIENCE_S)
        assert "error" not in told, f"{method}: {told['error']}"
        result: dict[str, Any] = told["result"]
        return result

    def open(self, url: str, width: int = 1440, height: int = 900, *, dark: bool = False) -> "Page":
        """A page of its own, in a context without cookies of others."""
        return self.wait_for(self._open(url, width, height, dark))

    def close(self, page: "Page") -> None:
        self.wait_for(self.ask("Target.disposeBrowserContext", browserContextId=page.context))

    async def _open(self, url: str, width: int, height: int, dark: bool) -> "Page":
        context = (await self.ask("Target.createBrowserContext"))["browserContextId"]
        target = (
            await self.ask("Target.createTarget", url="about:blank", browserContextId=context)
        )["targetId"]
        attached = await self.ask("Target.attachToTarget", targetId=target, flatten=True)
        session = attached["sessionId"]
        page = self._pages[session] = Page(self, session, context)
        for domain in ("Page", "Runtime", "Log", "Performance"):
            await self.ask(f"{domain}.enable", session)
        await page.shape(width, height, dark)
        await self.ask("Page.navigate", session, url=url)
        return page


class Page:
    def __init__(self, browser: Browser, session: str, context: str) -> None:
        self._browser, self._session, self.context = browser, session, context
        self.complaints: list[str] = []

    def note(self, method: str, params: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.complaints.append(json.dumps(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(json.dumps(params["entry"]))

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        return self._browser.wait_for(self._browser.ask(method, self._session, **params))

    async def shape(self, width: int, height: int, dark: bool) -> None:
        await self._browser.ask(
            "Emulation.setDeviceMetricsOverride",
            self._session,
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self._browser.ask("Emulation.setEmulatedMedia", self._session, features=[scheme])

    def resize(self, width: int, height: int, *, dark: bool = False) -> None:
        self._browser.wait_for(self.shape(width, height, dark))

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; a promise's, when it is kept."""
        told = self._ask(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def wait(self, script: str, patience_s: float = PATIENCE_S) -> Any:
        """Until the expression is true; its value. It is looked at once a frame, in the page."""
        return self.run(
            f"""new Promise((kept, broken) => {{
                const end = performance.now() + {patience_s * 1000}
                const look = () => {{
                  let value = null
                  try {{ value = ({script}) }} catch {{}}
                  if (value) kept(value)
                  else if (performance.now() > end) broken(new Error('in vain: ' + {script!r}))
                  else requestAnimationFrame(look)
                }}
                look()
            }})"""
        )

    def reload(self) -> None:
        self.run("window.isOld = true")
        self._ask("Page.reload")
        give_up = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up:
            with suppress(AssertionError):  # it was replaced while being asked
                if self.run("!window.isOld && document.readyState === 'complete'"):
                    return
        raise AssertionError("the page did not load anew")

    def text(self, selector: str) -> str:
        return str(self.run(f"document.querySelector({selector!r}).textContent"))

    def click(self, selector: str) -> None:
        self.run(f"document.querySelector({selector!r}).click()")

    def type(self, selector: str, text: str) -> None:
        """Into an empty field."""
        self.run(f"document.querySelector({selector!r}).focus()")
        self._ask("Input.insertText", text=text)

    def press(self, key: str, *, shift: bool = False) -> None:
        fields = {"key": key, "windowsVirtualKeyCode": _KEYS[key], "modifiers": 8 if shift else 0}
        if key == "Enter":
            fields["text"] = "\r"
        self._ask("Input.dispatchKeyEvent", type="keyDown", **fields)
        self._ask("Input.dispatchKeyEvent", type="keyUp", **fields)

    def heap_bytes(self) -> int:
        """What the page's objects take, once nothing is left that nobody needs."""
        self._ask("HeapProfiler.collectGarbage")
        return int(self._ask("Runtime.getHeapUsage")["usedSize"])

    def picture(self, path: Path) -> None:
        told = self._ask("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(told["data"]))
