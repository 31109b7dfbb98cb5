"""What a collector reads: names, types and numbers; and that a scrape asks no actor anything."""

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from actors.metrics import TABLE, Exposition, Sources
from actors.outcomes import EDGES
from dkv.counters import Counters, Histogram
from dkv.errors import Code
from dkv.kv.sessions import pack_answer
from dkv.messages import Applied
from tests.unit.front import Front

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operations.md"


def sources(folder: Path, front: Front | None = None) -> Sources:
    front = front or Front()
    syncs = Histogram()
    for took_us in (0, 63, 64, 100, 2**24, 2**40):
        syncs.add(took_us)
    handshakes = Counters()
    handshakes.add("zap_peer_300", 2)
    return Sources(
        "n1",
        {"gateway": front.counters},
        {"gateway": front.gateway.gauges, "raft": lambda: {"term": 7}},
        {"dkv_log_sync_seconds": lambda: syncs},
        front.gateway.outcomes,
        handshakes,
        lambda: {"log": 3},
        lambda: {"log": 1_500_000},
        lambda: {"n1.cert": 1_800_000_000},
        folder,
    )


def samples(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_a_duration_is_counted_in_the_bucket_of_its_length() -> None:
    histogram = Histogram()
    for took_us in (0, 1, 2, 3, 4, 1_023, 1_024):
        histogram.add(took_us)
    assert histogram.counts[:4] == [1, 1, 2, 1]
    assert (histogram.counts[10], histogram.counts[11]) == (1, 1)
    assert (histogram.total, histogram.sum_us) == (7, 2_057)


def test_buckets_are_cumulative_and_end_with_everything(tmp_path: Path) -> None:
    found = samples(Exposition(sources(tmp_path)).text())
    bucket = {
        dict(labels)["le"]: value
        for (name, labels), value in found.items()
        if name == "dkv_log_sync_seconds_bucket"
    }
    assert bucket["6.4e-05"] == 2  # less than 64 us
    assert bucket["0.000128"] == 4
    assert (bucket["33.554432"], bucket["+Inf"]) == (5, 6)
    assert list(bucket.values()) == sorted(bucket.values())
    assert found["dkv_log_sync_seconds_count", ()] == 6


def test_every_sample_belongs_to_a_row_of_the_table(tmp_path: Path) -> None:
    (tmp_path / "log.db-wal").write_bytes(b"1234")
    families = list(text_string_to_metric_families(Exposition(sources(tmp_path)).text().decode()))
    told = {f.name for f in families if not f.name.startswith("process_")}
    assert told == {m.name.removesuffix("_total") for m in TABLE}
    assert all(f.documentation for f in families)
    found = samples(Exposition(sources(tmp_path)).text())
    assert found["dkv_storage_file_bytes", (("file", "log.db-wal"),)] == 4
    assert found["dkv_raft_term", ()] == 7
    assert found["dkv_thread_cpu_seconds_total", (("thread", "log"),)] == 1.5


def test_names_follow_the_conventions() -> None:
    for meaning in TABLE:
        assert meaning.name.startswith("dkv_")
        assert (meaning.kind == "counter") == meaning.name.endswith("_total")
        assert meaning.kind != "histogram" or meaning.name.endswith("_seconds")
        assert meaning.words.endswith(".")


def test_requests_are_told_by_op_and_outcome(tmp_path: Path) -> None:
    front = Front()
    front.put(b"k", b"secret-value")
    number = front.posted().batch
    front.now_us += 5_000
    front.handle(Applied(number, 9, ((0, 0, pack_answer(Code.OK, 5, {})),)))
    front.put(b"k", bytes(2 * 1024 * 1024))  # refused at admission
    front.put(b"k", b"v")
    front.wait(10_000_000)  # nobody answers: its time is over
    text = Exposition(sources(tmp_path, front)).text()
    found = samples(text)
    requests = "dkv_gateway_requests_total"
    assert found[requests, (("op", "put"), ("outcome", "ok"))] == 1
    assert found[requests, (("op", "put"), ("outcome", "timeout"))] == 1
    assert found["dkv_refusals_total", (("reason", "too_large"),)] == 1
    assert found["dkv_gateway_request_seconds_count", (("kind", "write"),)] == 2
    assert found["dkv_gateway_request_seconds_sum", (("kind", "write"),)] > 0.005
    assert b"secret-value" not in text


@pytest.mark.parametrize("edge", EDGES)
def test_each_way_of_a_request_has_its_durations(tmp_path: Path, edge: str) -> None:
    found = samples(Exposition(sources(tmp_path)).text())
    assert ("dkv_gateway_request_seconds_count", (("kind", edge),)) in found


def test_the_page_has_each_metric_with_its_type_and_its_words() -> None:
    page = PAGE.read_text()
    for meaning in TABLE:
        labels = f"{{{','.join(meaning.labels)}}}" if meaning.labels else ""
        row = f"| `{meaning.name}{labels}` | {meaning.kind} | {meaning.words} |"
        assert row in page, row
