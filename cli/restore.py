"""`dkv restore`: a data directory from a backup, for a member of a new cluster.

Owns: the flags, and what is printed to go on with. Must never know what is in a directory.
"""

import secrets
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from random import SystemRandom
from typing import Any, NamedTuple

import click

from actors.restoring import restore as make_directory
from cli.output import counted
from cli.snapshot import believe, reading
from dkv.errors import Misconfigured
from dkv.ids import Founding, check_name, parse_members
from dkv.security.trust import load_trust

SALT_BYTES = 16
_FILE = click.Path(dir_okay=False, path_type=Path)

Command = Callable[..., None]


def cluster_options(*, required: bool) -> Callable[[Command], Command]:
    """What the new cluster is told; `dkv recover` asks for it too."""
    options = (
        click.option("--name", required=required, envvar="DKV_NAME", help="The node's name."),
        click.option(
            "--initial-cluster",
            required=required,
            envvar="DKV_INITIAL_CLUSTER",
            metavar="NAME=HOST:PORT,…",
            help="Every member of the new cluster, as its nodes will be told.",
        ),
        click.option(
            "--initial-cluster-token",
            default="dkv",
            show_default=True,
            envvar="DKV_INITIAL_CLUSTER_TOKEN",
            help="As its nodes will be told.",
        ),
        click.option(
            "--peer-trusted-ca-file",
            "trust",
            type=_FILE,
            envvar="DKV_PEER_TRUSTED_CA_FILE",
            help="The trust file of the new cluster's authority.",
        ),
        click.option(
            "--insecure",
            is_flag=True,
            envvar="DKV_INSECURE",
            help="It will run without certificates.",
        ),
    )
    return lambda command: reduce(lambda made, option: option(made), reversed(options), command)


class Told(NamedTuple):
    """What these options say."""

    name: str
    initial_cluster: str
    initial_cluster_token: str
    trust: Path | None
    insecure: bool

    def founding(self, salt: bytes) -> Founding:
        if (self.trust is None) != self.insecure:
            raise Misconfigured("give --peer-trusted-ca-file, or --insecure: one of them")
        members = parse_members(self.initial_cluster, "--initial-cluster")
        if check_name(self.name, "--name") not in members:
            words = f"--initial-cluster names {', '.join(members)}, and not {self.name}"
            raise Misconfigured(words)
        authority = load_trust(self.trust).authority if self.trust else b""
        return Founding(authority, self.initial_cluster_token, tuple(members), salt)


@click.command()
@click.argument("file", type=_FILE)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="DKV_DATA_DIR",
    help="Where to; it must not exist, or be empty.  [default: NAME.dkv]",
)
@cluster_options(required=True)
@click.option("--salt", metavar="HEX", help="What the first `dkv restore` of this cluster printed.")
def restore(file: Path, data_dir: Path | None, salt: str | None, **told: Any) -> None:
    """Make the data directory of a new cluster's member from the backup FILE.

    Once for each member: the first run prints a salt, the others are given it with --salt. The new
    cluster never talks to a member of the old one. Then start all members; like any new cluster it
    serves when every one has voted. Keys, values and revisions are those of the backup; sessions
    are not.
    """
    name = told["name"]
    founding = Told(**told).founding(draw_salt() if salt is None else _read_salt(salt))
    make_member(file, data_dir or Path(f"{name}.dkv"), name, founding)
    others = [other for other in founding.names if other != name]
    if others and salt is None:
        click.echo(f"\nFor {', '.join(others)}: the same with --salt {founding.salt.hex()}")


def make_member(file: Path, folder: Path, name: str, founding: Founding) -> None:
    contents = believe(file)
    with reading(file) as reader:
        make_directory(folder, name, founding, contents, reader.versions(), SystemRandom())
    click.echo(
        f"{folder}: {name}, {counted(contents.keys, 'key')}, revision {contents.origin.revision}"
    )
    click.echo(f"cluster id  {founding.cluster_id().hex()}")
    click.echo(f"salt        {founding.salt.hex()}")


def draw_salt() -> bytes:
    return secrets.token_bytes(SALT_BYTES)


def _read_salt(text: str) -> bytes:
    try:
        salt = bytes.fromhex(text)
    except ValueError:
        salt = b""
    if len(salt) != SALT_BYTES:
        raise Misconfigured("--salt: it must be the 32 hexadecimal digits that were printed")
    return salt
