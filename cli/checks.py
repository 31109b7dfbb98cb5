"""`dkvctl check`: is it correct? What was recorded, and what runs.

Owns: the names of the checks, and how a verdict becomes words and an exit code. Must never decide a
verdict: `dkv/history` does.
"""

from pathlib import Path

import click

from cli.endings import Ended, Exit
from cli.hashes import compare_hashes
from cli.linearizable import linearizable
from cli.options import Choices, Group, SharedOptions
from cli.output import Record, emit, shown
from dkv.errors import Misconfigured
from dkv.history import Operation, Report, Verdict, read_history
from dkv.history import check as judge


@click.group(cls=Group)
def check() -> None:
    """Check histories and a running cluster for correctness."""


check.add_command(linearizable)
check.add_command(compare_hashes)


# -- history -------------------------------------------------------------------------------------
@check.command(cls=SharedOptions)
@click.argument("files", nargs=-1, required=True, metavar="FILE.jsonl...", type=click.Path())
@click.pass_obj
def history(run: Choices, files: tuple[str, ...]) -> None:
    """Say of each recorded history whether it is linearizable. Needs no cluster.

    A line is an operation; the format is in docs/correctness.md. Of a history that is not, the
    shortest part that cannot be is shown. Exits with 8 unless all are linearizable.
    """
    reports = [_say(run, name, judge(_read(name))) for name in files]
    wrong = sum(r.verdict is not Verdict.LINEARIZABLE for r in reports)
    if wrong:
        words = "histories are" if len(files) > 1 else "history is"
        raise Ended(
            f"{wrong} of {len(files)} {words} not linearizable or undecided", Exit.UNHEALTHY
        )


def _read(name: str) -> list[Operation]:
    try:
        with Path(name).open(encoding="utf-8") as lines:
            found = read_history(lines)
    except (OSError, UnicodeDecodeError) as error:
        words = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise Misconfigured(f"{name}: {words}") from None
    except Misconfigured as error:
        raise Misconfigured(f"{name}: {error}") from None
    if not found:
        raise Misconfigured(f"{name}: it holds no operation, which proves nothing")
    return found


def _say(run: Choices, name: str, report: Report) -> Report:
    """The verdict on one line, then what supports it."""
    details = list(report.lines())
    if report.verdict is Verdict.GAVE_UP:
        details.append(f"the search gave up after {report.states:,} configurations, undecided")
    emit(
        run.form,
        _record(name, report),
        "\n".join((f"{shown(name)}: {report.verdict.value}", *details)),
    )
    return report


def _record(name: str, report: Report) -> Record:
    return {
        "file": name,
        "verdict": report.verdict.name.lower(),
        "operations": report.operations,
        "keys": report.keys,
        "unknown": report.unknown,
        "window": list(report.lines()),
    }
