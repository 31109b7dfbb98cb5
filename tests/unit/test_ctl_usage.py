"""`dkvctl` without a cluster: usage, saved contexts, exit codes; a sentence, never a traceback."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.ctl import cli
from cli.endings import Exit, ended
from dkv.errors import Code, DkvError, Misconfigured, request_error

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def go(*args: str, given: str = "", **env: str) -> Result:
        own = {"XDG_CONFIG_HOME": str(tmp_path), **env}
        return CliRunner().invoke(cli, args, input=given, env=own, catch_exceptions=False)

    return go


def _save(run: Run, name: str, *more: str) -> Result:
    return run("context", "save", name, "--endpoint", "a:1,b:2", "--insecure", *more)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("get", "Missing argument 'KEY'"),
        ("get k", "no cluster is named"),
        ("get k --endpoint a:1", "--cert, --key, --cacert missing"),
        ("get k --endpoint a:1 --cert x", "--key, --cacert missing"),
        ("get k --endpoint a:1 --insecure --cert x", "--insecure excludes"),
        ("get k --endpoint nonsense --insecure", "it must be host:port"),
        ("conformance client -- ./nothing", "is no program that can be started"),
        ("get k --endpoint , --insecure", "it must be host:port"),
        ("get k --context none", "there is no context 'none'"),
        ("put k", "give the value once"),
        ("put k - --file x", "give the value once"),
        ("put k --file /nonexistent", "No such file"),
        ("put k v --if-absent --if-revision 1", "--if-absent excludes"),
        ("delete k --prefix --if-revision 1", "--prefix excludes"),
        ("delete k --yes", "--yes goes with --prefix"),
        ("list x --from y", "PREFIX excludes"),
        ("list --from b --to a", "--to must be beyond"),
        ("compact 5 --keep 5", "REVISION excludes --keep"),
        ("compact -- -1", "-1 is not in the range"),
        ("df --depth 17", "17 is not in the range"),
        ("import /nonexistent", "no cluster is named"),
        ("export all.jsonl", "no cluster is named"),
        ("export - --revision 0", "0 is not in the range x>=1"),
        ("snapshot save a.dkv", "no cluster is named"),
        ("snapshot inspect /nonexistent", "No such file"),
        ("snapshot inspect /dev/null", "/dev/null is no backup of dkv"),
        ("context use none", "there is no context 'none'"),
        ("context save x", "at least one --endpoint"),
        ("context save x --endpoint a:1", "or --insecure"),
        ("completion csh", "csh"),
        ("bench", "Missing argument"),
        ("bench put", "no cluster is named"),
        ("bench put --clients 8 --outstanding 7", "less than one for each of --clients 8"),
        ("bench put --clients 4 --pipeline 17", "a connection has 16 requests under way"),
        ("bench put --pipeline 1025 --outstanding 2000", "1<=x<=1024"),
        ("bench put --pipeline 5 --value-size 1000000", "more than a message of 4 MiB"),
        ("bench put --outstanding 100 --value-size 1000000", "more than 64 MiB"),
        ("bench get --keys 10000000 --value-size 1000", "more than 4 GiB to put first"),
        ("bench put --gets 50", "--gets goes with mixed"),
        ("bench get --no-session", "gets have no session"),
        ("bench put --seconds 0", "0.1<=x<=86400"),
        ("bench put --outstanding 40000", "1<=x<=32768"),
        ("bench scan", "is not one of 'put', 'get', 'mixed'"),
    ],
)
def test_wrong_usage_ends_with_two_and_a_sentence(run: Run, args: str, words: str) -> None:
    result = run(*args.split())
    assert result.exit_code == Exit.USAGE
    assert words in result.stderr
    assert result.stdout == ""


def test_an_empty_endpoint_does_not_fall_back_on_the_context(run: Run) -> None:
    _save(run, "one")
    assert "it must be host:port" in run("get", "k", "--endpoint", ",").stderr


def test_an_empty_key_is_refused_here(run: Run) -> None:
    for command in (("put", "", "v"), ("get", ""), ("delete", "")):
        assert run(*command, "--endpoint", "a:1", "--insecure").exit_code == Exit.USAGE


def test_a_saved_context_becomes_current_and_can_be_changed(run: Run) -> None:
    assert _save(run, "one").exit_code == 0
    _save(run, "two", "--no-use")
    assert json.loads(run("context", "show", "-o", "json").stdout)["name"] == "one"
    run("context", "use", "two")
    rows = json.loads(run("-o", "json", "context", "list").stdout)
    assert [(r["name"], r["current"]) for r in rows] == [("one", False), ("two", True)]


def test_a_deleted_context_is_current_no_more(run: Run) -> None:
    _save(run, "one")
    assert run("context", "delete", "one").exit_code == 0
    assert "no context is current" in run("context", "show").stderr
    assert run("context", "delete", "one").exit_code == Exit.USAGE


def test_asking_for_contexts_makes_no_file(run: Run, tmp_path: Path) -> None:
    assert run("context", "list").exit_code == 0
    assert list(tmp_path.iterdir()) == []


def test_a_context_keeps_absolute_paths(run: Run) -> None:
    files = ("--cert", "c", "--key", "k", "--cacert", "t")
    run("context", "save", "one", "--endpoint", "a:1", *files)
    shown = json.loads(run("context", "show", "one", "-o", "json").stdout)
    assert shown["cert"] == str(Path("c").absolute())


def test_certificates_that_are_named_end_a_contexts_insecure(run: Run) -> None:
    _save(run, "one")
    result = run("get", "k", "--cert", "/nonexistent")
    assert result.exit_code == Exit.USAGE
    assert "--key, --cacert missing" in result.stderr


def test_an_option_wins_over_the_environment_over_the_context(run: Run) -> None:
    _save(run, "one")
    env = {"DKVCTL_ENDPOINT": "env:1", "DKVCTL_INSECURE": "1"}
    run("context", "save", "two", **env)
    run("--endpoint", "group:1", "context", "save", "three", **env)
    run("--endpoint", "group:1", "context", "save", "four", "--endpoint", "own:1", **env)
    found = {
        r["name"]: r["endpoints"] for r in json.loads(run("context", "list", "-o", "json").stdout)
    }
    assert found == {"one": "a:1,b:2", "two": "env:1", "three": "group:1", "four": "own:1"}


@pytest.mark.parametrize(
    ("code", "applied", "ending"),
    [
        (Code.CONDITION_FAILED, "no", Exit.UNMET),
        (Code.COMPACTED, "no", Exit.UNMET),
        (Code.NO_LEADER, "no", Exit.UNAVAILABLE),
        (Code.DISK_LOW, "no", Exit.UNAVAILABLE),
        (Code.SESSION_LOST, "no", Exit.UNAVAILABLE),
        (Code.NO_LEADER, "unknown", Exit.UNKNOWN),
        (Code.TIMEOUT, "unknown", Exit.UNKNOWN),
        (Code.DENIED, "no", Exit.DENIED),
        (Code.CERTIFICATE_EXPIRED, "no", Exit.DENIED),
        (Code.TOO_LARGE, "no", Exit.USAGE),
    ],
)
def test_an_error_has_its_exit_code(code: Code, applied: str, ending: Exit) -> None:
    error: DkvError = request_error(code, "words", applied)  # type: ignore[arg-type]
    assert ended(error).exit_code == ending


def test_a_bad_setting_is_usage() -> None:
    assert ended(Misconfigured("words")).exit_code == Exit.USAGE


def test_each_shell_has_a_completion(run: Run) -> None:
    for shell in ("zsh", "fish"):
        assert "dkvctl" in run("completion", shell).stdout
