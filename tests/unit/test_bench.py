"""The measurements' own arithmetic: what clients print, which rounds are void, the line at the end.

A table of figures is believed, so what makes it is tested as the store is.
"""

import struct
from typing import Any

import pytest

from tests.bench import check, figures, h2load, http2, zookeeper
from tests.bench.dkv import read_report
from tests.bench.etcd import Etcd
from tests.bench.h2load import Summary, Unreadable, check_answers, read_summary, read_waits, split
from tests.bench.meter import Sample, span
from tests.bench.sockets import Broken
from tests.bench.tail import Watch
from tests.bench.work import KEYS, VALUE, Work, key, measured, percentile, scattered

SUMMARY = """\
starting benchmark...
Main benchmark duration is over for thread #0. Stopping all clients.

finished in 3.00s, 10888.00 req/s, 3.74MB/s
requests: 21776 total, 21776 started, 21776 done, 21770 succeeded, 1 failed, 2 errored, 3 timeout
status codes: 21768 2xx, 0 3xx, 0 4xx, 2 5xx
traffic: 7.48MB (7845466) total, 64.45KB (65996) headers (space savings 94.74%), 10.23MB (10722400) data
                     min         max         mean         sd        +/- sd
time for request:       80us     12.45ms       717us       806us    91.42%
"""  # noqa: E501


# -- h2load --------------------------------------------------------------------------------------
def test_a_summary_of_h2load_is_read_and_an_answer_other_than_200_is_a_failure() -> None:
    assert read_summary(SUMMARY) == Summary(succeeded=21768, failed=8, data_bytes=10722400)


@pytest.mark.parametrize("missing", ["requests:", "status codes:", "traffic:"])
def test_a_summary_without_one_of_its_lines_is_refused(missing: str) -> None:
    text = "\n".join(line for line in SUMMARY.splitlines() if not line.startswith(missing))
    with pytest.raises(Unreadable, match="not a summary"):
        read_summary(text)


def test_waits_are_those_of_answers_with_200() -> None:
    lines = "1795653303702094\t200\t2894\n1795653303704335\t503\t12\n1795653303704339\t200\t1682\n"
    assert read_waits(lines) == [0.002894, 0.001682]
    with pytest.raises(Unreadable, match="not a line"):
        read_waits("1795653303702094\t200\n")


def test_answers_too_short_for_successes_are_not_believed() -> None:
    """gRPC answers a refusal with HTTP 200 and no message."""
    get = Work("get", 64)
    enough = 100 * http2.answer_bytes_min(get)
    check_answers(Summary(100, 0, enough), get)
    with pytest.raises(Broken, match="etcd refused some"):
        check_answers(Summary(100, 0, enough - 1), get)


def test_processes_of_h2load_have_as_many_requests_under_way_as_were_asked_for() -> None:
    for outstanding in (1, 64, 256):
        processes, streams = split(outstanding)
        assert processes * streams == outstanding


# -- void rounds ---------------------------------------------------------------------------------
def record(rate: float, p50_ms: float = 1.0, **more: Any) -> dict[str, Any]:
    return {"per_second": rate, "p50_ms": p50_ms, **more}


def rounds_of(work: str, etcd: list[float], dkv: list[float]) -> list[figures.Round]:
    return [
        {work: {"etcd/h2load": record(e), "dkv/client": record(d)}}
        for e, d in zip(etcd, dkv, strict=True)
    ]


def test_a_round_is_void_when_etcd_stays_below_four_fifths_of_its_median() -> None:
    rounds = rounds_of("put@64", [1000, 1010, 799, 990, 1000], [2000, 2000, 500, 2100, 2100])
    assert figures.valid(rounds, "put@64") == [rounds[0], rounds[1], rounds[3], rounds[4]]
    assert figures.medians(rounds)["put@64"]["dkv/client"]["per_second"] == 2050
    assert figures.medians(rounds)["put@64"]["dkv/client"]["rounds"] == 4


def test_exactly_four_fifths_is_not_below_them() -> None:
    rounds = rounds_of("put@64", [1000, 1000, 800], [1, 1, 1])
    assert len(figures.valid(rounds, "put@64")) == 3


def test_any_client_of_etcd_may_show_that_a_round_was_disturbed() -> None:
    rounds: list[figures.Round] = [
        {"get@1": {"etcd/h2load": record(100), "etcd/python": record(rate)}} for rate in (90, 90, 9)
    ]
    assert figures.valid(rounds, "get@1") == rounds[:2]


def test_what_is_usual_may_be_known_from_an_earlier_report() -> None:
    rounds = rounds_of("put@64", [500, 500, 500], [1, 1, 1])
    assert len(figures.valid(rounds, "put@64")) == 3
    known = {"put@64": {"etcd/h2load": 1000.0, "dkv/client": 9e9}}
    assert figures.valid(rounds, "put@64", known) == []


def test_without_etcd_no_round_is_void() -> None:
    rounds: list[figures.Round] = [{"put@64": {"dkv/client": record(r)}} for r in (1000, 1)]
    assert figures.valid(rounds, "put@64") == rounds


def test_a_work_is_void_by_itself() -> None:
    rounds = rounds_of("put@64", [1000, 1000, 1], [7, 7, 7])
    for each in rounds:
        each["get@64"] = {"etcd/h2load": record(50)}  # type: ignore[index]
    assert len(figures.valid(rounds, "put@64")) == 2
    assert len(figures.valid(rounds, "get@64")) == 3


# -- ratios --------------------------------------------------------------------------------------
def middle(**changes: Any) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {
        "put@1": {
            "dkv/client": record(500, 2.0, flushes_per_second=1500),
            "etcd/h2load": record(1000, 1.0, flushes_per_second=3000),
            "etcd/python": record(900, 0.8, flushes_per_second=3000),
            "zookeeper/python": record(1000, 4.0, flushes_per_second=1000),
        },
        "put@256": {
            "dkv/client": record(3000),
            "etcd/h2load": record(1000),
            "etcd/python": record(1500),
            "zookeeper/python": record(6000),
        },
        "pipelined put@256": {"dkv/client": record(9000)},
    }
    return found | changes


def test_the_ratio_is_of_waits_at_one_outstanding_else_of_rates_and_etcds_best_counts() -> None:
    found = figures.ratios(middle())
    assert found["put@1"] == {"etcd": 2.5, "zookeeper": 0.5}
    assert found["put@256"] == {"etcd": 2.0, "zookeeper": 0.5}


def test_pipelined_is_against_what_the_others_do_with_as_many_outstanding() -> None:
    assert figures.ratios(middle())["pipelined"] == {"etcd": 6.0, "zookeeper": 1.5}


def test_the_line_has_every_ratio_in_order_and_says_what_was_not_measured() -> None:
    assert figures.line(figures.ratios(middle())) == (
        "ratios put@1 2.50/0.50 put@64 -/- put@256 2.00/0.50 get@1 -/- get@64 -/- get@256 -/- "
        "pipelined 6.00/1.50 pipelined-get -/-"
    )


def test_who_answers_before_its_disk_does_not_count() -> None:
    found = middle()
    found["put@1"]["zookeeper/python"]["flushes_per_second"] = 999
    assert figures.unsynced(found) == ["zookeeper"]
    assert figures.ratios(found)["put@256"] == {"etcd": 2.0, "zookeeper": None}
    found["put@1"]["dkv/client"]["flushes_per_second"] = 0
    assert figures.ratios(found)["put@256"] == {"etcd": None, "zookeeper": None}


def test_a_disk_whose_flushes_are_not_counted_accuses_nobody() -> None:
    found = middle()
    for each in found["put@1"].values():
        each["flushes_per_second"] = None
    assert figures.unsynced(found) == []


# -- the ratchet ---------------------------------------------------------------------------------
def test_the_ratchet_judges_the_median_of_paired_rounds() -> None:
    steady = [(100.0, 105.0), (200.0, 210.0), (100.0, 300.0)]
    assert check.growth(steady) == pytest.approx(0.05)
    assert check.verdict({"put@64": steady}, allow=0.1)[1] is False
    told, worse = check.verdict({"put@64": steady, "get@64": [(100.0, 111.0)]}, allow=0.1)
    assert worse
    assert "+11.0%" in told
    assert told.count("WORSE") == 1


# -- parts ---------------------------------------------------------------------------------------
def test_percentiles_are_values_that_occurred() -> None:
    values = [float(n) for n in range(1, 101)]
    assert [percentile(values, s) for s in (0.5, 0.9, 0.99, 1.0)] == [50, 90, 99, 100]
    assert percentile([7.0], 0.01) == 7.0


def test_nothing_answered_is_no_measurement() -> None:
    with pytest.raises(ValueError, match="nothing was answered"):
        measured("client", [], 1.0, 3, 0.0)
    assert measured("client", [0.002, 0.001], 0.5, 0, 9.0).per_second == 4.0


def test_every_key_has_its_turn() -> None:
    assert {scattered(turn) for turn in range(KEYS)} == set(range(KEYS))
    assert len(key(7)) == len(zookeeper.path(7)) == 16
    assert len(VALUE) == 256


def test_the_meter_leaves_out_what_is_before_and_after_the_measured_part() -> None:
    samples = [Sample(float(s), 10.0 * s, 20.0 * s, s) for s in range(10)]
    first, last = span(samples, 3.5, 7.2)
    assert (first.now_s, last.now_s) == (4.0, 7.0)
    first, last = span(samples, 3.1, 3.2)
    assert (first.now_s, last.now_s) == (3.0, 4.0)
    first, last = span(samples[:2], -9.0, -8.0)
    assert first.now_s < last.now_s


def test_the_longest_stall_is_found_also_at_the_end() -> None:
    watch = Watch(began_s=100.0)
    for now_s in (100.1, 100.2, 100.9, 101.0):
        watch.acknowledged(now_s - 0.05, now_s)
    assert watch.gap_ms == pytest.approx(700)
    assert watch.gap_at_s == pytest.approx(0.2)
    watch.ended(103.0)
    told = watch.record(3.0)
    assert told["longest_gap_ms"] == pytest.approx(2000)
    assert told["longest_gap_at_s"] == pytest.approx(1.0)
    assert [count for count, _ in watch.by_second()] == [3, 1]


# -- protocols -----------------------------------------------------------------------------------
def frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    head = struct.pack(">I", len(content))[1:] + bytes([kind, flags])
    return head + struct.pack(">I", stream) + content


def test_a_call_counts_only_with_a_message_long_enough_however_the_bytes_come() -> None:
    calls = http2.Calls(Work("get", 1))
    assert [calls.request(n)[0] for n in range(3)] == [1, 3, 5]
    answer = (
        frame(0, 0, 1, bytes(200))
        + frame(0, 0, 1, bytes(100))
        + frame(1, 5, 1, b"")
        + frame(1, 5, 3, b"")  # an error: trailers alone
        + frame(3, 0, 5, bytes(4))  # the stream is reset
    )
    done = []
    for at in range(len(answer)):
        found, back = calls.answers(answer[at : at + 1])
        assert not back
        done += found
    assert done == [(1, True), (3, False), (5, False)]


def test_settings_and_pings_are_answered_and_a_goaway_ends_it() -> None:
    calls = http2.Calls(Work("put", 1))
    _, back = calls.answers(frame(4, 0, 0, b"") + frame(6, 0, 0, b"12345678"))
    assert back == frame(4, 1, 0, b"") + frame(6, 1, 0, b"12345678")
    assert calls.answers(frame(6, 1, 0, b"12345678")) == ([], b"")
    with pytest.raises(http2.Ended):
        calls.answers(frame(7, 0, 0, bytes(8)))


def test_a_put_in_grpc_has_its_lengths_right() -> None:
    body = http2.message(Work("put", 1), 5)
    assert body[:5] == b"\0" + struct.pack(">I", len(body) - 5)
    assert body[5:7] == b"\x0a\x10"
    assert body[7:23] == key(5)
    assert body[23:26] == b"\x12\x80\x02"  # 256 as a varint
    assert body[26:] == VALUE
    assert http2.message(Work("get", 1, "serializable"), 5).endswith(b"\x38\x01")


def answer(request: int, error: int, body: bytes = b"") -> bytes:
    content = struct.pack(">iqi", request, 0, error) + body
    return struct.pack(">i", len(content)) + content


def test_a_get_of_zookeeper_counts_with_the_value_that_was_put() -> None:
    talk = zookeeper.SyncAndGet()
    talk.request(1)
    talk.request(2)
    right = struct.pack(">i", 256) + VALUE
    packed = answer(3, 0) + answer(2, 0, right) + answer(5, 0) + answer(4, 0, right[:-1] + b"!")
    done = []
    for at in range(0, len(packed), 7):
        done += talk.answers(packed[at : at + 7])[0]
    assert done == [(2, True), (4, False)]
    assert zookeeper.Put().answers(answer(2, -101))[0] == [(2, False)]
    with pytest.raises(Broken, match="refused a sync"):
        talk.answers(answer(7, -1))


# -- dkvctl bench --------------------------------------------------------------------------------
REPORT = (
    '{"seconds": 2.0, "errors": {"busy": 2, "timeout": 1}, "gets": {"count": 0}, "puts": '
    '{"count": 10, "p50_us": 1500, "p90_us": 2000, "p99_us": 3000, "max_us": 3500}}'
)


def test_a_report_of_dkvctl_bench_is_read() -> None:
    found = read_report(REPORT, "put", 7.0)
    assert (found.operations, found.seconds, found.errors) == (10, 2.0, 3)
    assert (found.p50_ms, found.p99_ms, found.max_ms, found.ended_s) == (1.5, 3.0, 3.5, 7.0)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"puts": {}, "seconds": 1, "errors": {}}'])
def test_what_is_no_report_of_dkvctl_bench_is_refused(text: str) -> None:
    with pytest.raises(Broken, match="not a report"):
        read_report(text, "put", 0.0)


def test_a_report_of_nothing_answered_is_refused_with_the_notes() -> None:
    nothing = REPORT.replace('"count": 10', '"count": 0')
    with pytest.raises(Broken, match=r"3 errors\. no leader"):
        read_report(nothing, "put", 0.0, "no leader")


def test_what_is_absent_is_named_as_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert Etcd.absent() == ["etcd-server", "nghttp2-client"]
    assert not Etcd.can_run()
    assert not h2load.is_here()
    assert "default-jre-headless" in zookeeper.ZooKeeper.absent()
