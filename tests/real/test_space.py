"""Compaction, quota and `dkvctl df` with real nodes on real files."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dkv.client import Client, Rejected, Unavailable
from dkv.errors import Code
from tests.real.cluster import PATIENCE_S, Cluster
from tests.real.test_checks import Ctl


def until(holds: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def swept(kv: Client) -> bool:
    machine = kv.status()["machine"]
    return machine["compacted"] > 0 and not machine["sweeping"]


def test_history_goes_keys_stay_and_a_restart_finds_the_same(tmp_path: Path) -> None:
    with Cluster(tmp_path, 1, options=["--compact-keep-revisions=0", "--compact-keep-age=0"]) as c:
        c.start()
        c.wait_serving()
        ctl = Ctl(c, tmp_path)
        with c.client() as kv:
            for number in range(3_000):
                kv.put(b"tree/%d" % (number % 50), b"%d" % number)
            kv.delete_prefix(b"tree/4")
            first = kv.page(limit=5)
            kv.put(b"later", b"")
            code, said = ctl.run("compact", "--dry-run", "--output=json")
            assert (code, json.loads(said)["compacted"]) == (0, 0), said
            code, said = ctl.run("compact")
            assert code == 0, said
            until(lambda: swept(kv))
            with pytest.raises(Rejected) as refused:
                kv.page(limit=5, token=first.token)
            assert refused.value.code is Code.COMPACTED
            rows = kv.space()
            assert [(r.name, r.keys, r.history_bytes) for r in rows] == [
                (b"", 1, 0),
                (b"tree/", 39, 0),
            ]
            listed = [*kv.list()]
        code, said = ctl.run("df", "--depth=0")
        assert code == 0, said
        assert "history begins at revision" in said
        c.kill("n1")
        c.start("n1")
        c.wait_serving()
        with c.client() as kv:
            assert [*kv.list()] == listed


def test_the_quota_refuses_puts_and_lifts_by_itself(tmp_path: Path) -> None:
    with Cluster(tmp_path, 1, options=["--quota=4000000"]) as c:
        c.start()
        c.wait_serving()
        with c.client() as kv:
            refused = None
            for number in range(20_000):
                try:
                    kv.put(b"k%d" % number, bytes(5_000))
                except Unavailable as error:
                    refused = error
                    break
            assert refused is not None
            assert (refused.code, refused.applied) == (Code.QUOTA, "no")
            assert kv.status()["machine"]["quota_reached"]
            assert kv.get(b"k0") is not None
            assert kv.delete_prefix(b"k") == number
            until(lambda: not kv.status()["machine"]["quota_reached"])
            kv.put(b"again", b"")
