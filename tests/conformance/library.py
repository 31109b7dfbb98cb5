"""The library's own client as a driver for the conformance kit: `python -m
tests.conformance.library`.

Owns: lines to calls of `AsyncClient` and back. Must never retry or sort anything itself.
"""

import asyncio
import json
import os
import sys
from collections.abc import Coroutine
from typing import Any

from dkv.client import AsyncClient, ConditionFailed, Rejected, RequestError
from dkv.errors import DkvError

Line = dict[str, Any]


def say(line: Line) -> None:
    print(json.dumps(line), flush=True)


def told(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    return [told(v) for v in value] if isinstance(value, list | tuple) else value


def failed(error: DkvError) -> Line:
    kind = "rejected" if isinstance(error, Rejected) or not isinstance(error, RequestError) else ""
    found: Line = {"class": kind or "uncertain", "applied": "no", "words": str(error)}
    if isinstance(error, RequestError):
        found |= {"code": error.name, "applied": error.applied, "leader": error.leader}
    if isinstance(error, ConditionFailed):
        found["key_revision"] = error.key_revision
    return {"error": found}


async def carry_out(kv: AsyncClient, line: Line) -> Line:
    def sent(name: str) -> bytes | None:
        return None if line.get(name) is None else bytes.fromhex(line[name])

    op, key = line["op"], sent("key") or b""
    if op == "put":
        put = await kv.put(key, sent("value") or b"", expected=line.get("expected"))
        return {"key_revision": put.key_revision}
    if op == "delete":
        return {"deleted": (await kv.delete(key, expected=line.get("expected"))).count}
    if op == "get":
        item = await kv.get(key, level=line.get("level"))
        if item is None:
            return {"found": False}
        return {"found": True, **{f: told(getattr(item, f)) for f in item._fields if f != "key"}}
    if op == "list":
        options = {"start": sent("start"), "end": sent("end"), "limit": line.get("limit")}
        pages = kv.list(sent("prefix"), level=line.get("level"), **options)
        return {"items": [told(item[:5]) async for item in pages]}
    return {"node": (await kv.status())["node"]["name"]}


async def answer(kv: AsyncClient, line: Line, timeout_s: float) -> None:
    kv.timeout = (line.get("timeout_ms") or timeout_s * 1_000) / 1_000
    try:
        found = {"ok": await carry_out(kv, line)}
    except DkvError as error:
        found = failed(error)
    say({"n": line["n"], **found})


async def serve(kv: AsyncClient, lines: asyncio.StreamReader, timeout_s: float) -> None:
    tasks: set[asyncio.Task[None]] = set()

    def begin(work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    while text := await lines.readline():
        begin(answer(kv, json.loads(text), timeout_s))
    if tasks:
        await asyncio.wait(tasks)
    await kv.close()


async def main() -> None:
    env = os.environ
    say({"ready": "dkv for Python", "outstanding": 64, "lacks": ["sessionless"]})
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=1 << 26)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    names = {"cert": "DKV_CERTIFICATE", "key": "DKV_KEY", "cacert": "DKV_TRUST"}
    files = {name: env[variable] for name, variable in names.items() if variable in env}
    timeout_s = int(env["DKV_TIMEOUT_MS"]) / 1_000
    try:
        insecure = env.get("DKV_INSECURE") == "1"
        kv = AsyncClient(env["DKV_ENDPOINTS"].split(","), insecure=insecure, **files)
    except DkvError as error:
        while text := await lines.readline():
            say({"n": json.loads(text)["n"], **failed(error)})
        return
    await serve(kv, lines, timeout_s)


if __name__ == "__main__":
    asyncio.run(main())
