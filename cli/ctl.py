"""`dkvctl`: reading, writing and looking after a cluster from a terminal.

Owns: the commands' names, and the one place where an error becomes a sentence and an exit code.
Must never know how a command does its work.
"""

import os
import sys
from pathlib import Path
from typing import Any

import click
from click.shell_completion import get_completion_class

from cli import cluster, exporting, health, importing, keys, leadership, membership
from cli.bench import bench
from cli.certs import certs
from cli.checks import check
from cli.contexts import (
    Context,
    all_contexts,
    current_context,
    delete_context,
    find_context,
    save_context,
    use_context,
)
from cli.dashboard.command import dashboard
from cli.endings import Ended, Exit, ended
from cli.options import Choices, Group, SharedOptions, add_options
from cli.output import emit, emit_rows
from cli.snapshot import snapshot
from cli.space import compact, df
from cli.tail import tail
from cli.top import top
from dkv import __version__
from dkv.errors import DkvError, Misconfigured


class Root(Group):
    """Where every run ends: an error on purpose is a sentence, any other is a bug."""

    group_class = Group

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except DkvError as error:
            raise ended(error) from None
        except KeyboardInterrupt:
            raise Ended("interrupted", Exit.INTERRUPTED) from None
        except BrokenPipeError:  # as in `dkvctl list | head`: whoever reads has enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            return None


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dkvctl", message="%(prog)s %(version)s")
def cli() -> None:
    """Read, write and look after a dkv cluster.

    Which cluster: --endpoint and its companions, or a saved context (`dkvctl context`). Each option
    below may also be given after the command's name, or in the environment.

    Exit codes: 0 done, 2 wrong usage, 3 not found, 4 condition not met or done in part, 5 not done,
    6 not known whether it was done, 7 denied, 8 unhealthy, 130 interrupted.
    """


add_options(cli)
for command in (
    keys.put,
    keys.get,
    keys.delete,
    keys.list_keys,
    importing.import_keys,
    exporting.export_keys,
    snapshot,
    membership.member,
    leadership.leader,
    health.health,
    cluster.status,
    tail,
    top,
    compact,
    df,
    certs,
    check,
    bench,
    dashboard,
):
    cli.add_command(command)
cli.add_command(keys.put, "set")


# -- saved contexts ------------------------------------------------------------------------------
@cli.group()
def context() -> None:
    """Clusters by name: where they are, and which certificate to use."""


@context.command(name="save")
@click.argument("name")
@click.option("--no-use", is_flag=True, help="Do not make it the current one.")
@click.pass_obj
def save(run: Choices, name: str, no_use: bool) -> None:
    """Save --endpoint, --cert, --key, --cacert, --insecure as NAME; it becomes current.

    Only the paths of files are kept. Example:
    dkvctl context save prod --endpoint kv.example:3000 --cert me.cert --key me.key --cacert trust
    """
    target = run.target(name)
    if not target.endpoints:
        raise click.UsageError("give at least one --endpoint HOST:PORT")
    if not target.insecure and not (target.cert and target.key and target.cacert):
        raise click.UsageError("give --cert, --key and --cacert; or --insecure")
    save_context(target, use=not no_use)
    click.echo(f"saved {name}" + ("" if no_use else ", now the current context"))


@context.command(name="use")
@click.argument("name")
def use(name: str) -> None:
    """Make NAME the current context."""
    use_context(name)
    click.echo(f"{name} is now the current context")


@context.command(name="list")
@click.pass_obj
def list_contexts(run: Choices) -> None:
    """List saved contexts."""
    found, current = all_contexts()
    rows = [_record(c, current) for c in found]
    emit_rows(run.form, rows, ("name", "current", "security", "endpoints"))


@context.command()
@click.argument("name", required=False)
@click.pass_obj
def show(run: Choices, name: str | None) -> None:
    """Show the context NAME, or the current one."""
    chosen = name or run.context
    found = find_context(chosen) if chosen else current_context()
    if found is None:
        raise Misconfigured("no context is current: see dkvctl context use --help")
    record = found._asdict()
    words = (f"{f:10} {', '.join(v) if isinstance(v, tuple) else v}" for f, v in record.items())
    emit(run.form, record, "\n".join(words))


@context.command()
@click.argument("name")
def delete(name: str) -> None:
    """Forget the context NAME. Its files stay."""
    delete_context(name)
    click.echo(f"deleted {name}")


def _record(saved: Context, current: str) -> dict[str, Any]:
    security = "insecure" if saved.insecure else Path(saved.cert).name
    return {
        **saved._asdict(),
        "current": saved.name == current,
        "security": security,
        "endpoints": ",".join(saved.endpoints),
    }


# -- completion ----------------------------------------------------------------------------------
@cli.command(cls=SharedOptions)
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def completion(shell: str) -> None:
    """Print the completion script for SHELL.

    For bash: dkvctl completion bash > ~/.local/share/bash-completion/completions/dkvctl
    """
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(cli, {}, "dkvctl", "_DKVCTL_COMPLETE").source())


def main() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    cli(prog_name="dkvctl")


if __name__ == "__main__":
    main()
