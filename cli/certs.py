"""`dkvctl certs`: make and look at keys and certificates.

Owns: the names of the files in a folder of certificates, and the words. Must never know a cluster:
everything here is done offline, with the authority's key.

    authority.key   secret: signs; keep it away from the nodes
    trust           public: every node and client has it
    server.*        the pair that all nodes show to clients
    NAME.cert       public; NAME.key secret: a node's or a client's own
"""

import time
from pathlib import Path

import click

from dkv.security.authority import Authority, create_authority, load_authority
from dkv.security.certificate import CLIENT_ROLES, ROLES, Certificate, read_certificate
from dkv.security.files import read_file, replace_file, write_new
from dkv.security.identity import KIND
from dkv.security.refusal import CertificateError
from dkv.security.secrets import curve_pair, draw_curve_pair, is_locked, read_secret, write_secret
from dkv.security.trust import Trust, load_trust
from dkv.security.words import day, end_in_words

AUTHORITY_DAYS = 3_650
CERTIFICATE_DAYS = 365
_SERVERS_KEPT = 2
_FOLDER = click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("certs"),
    show_default=True,
    envvar="DKVCTL_CERTS_DIR",
    help="The folder of keys and certificates.",
)
_DAYS = click.option(
    "--days",
    type=click.IntRange(1, AUTHORITY_DAYS),
    default=CERTIFICATE_DAYS,
    show_default=True,
    help="How long it is valid.",
)


@click.group()
def certs() -> None:
    """Make and check the authority, certificates and keys."""


@certs.command()
@_FOLDER
@click.option("--days", type=click.IntRange(1, 36_500), default=AUTHORITY_DAYS, show_default=True)
@click.option("--lock", is_flag=True, help="Ask for a passphrase for the authority's key.")
def init(folder: Path, days: int, lock: bool) -> None:
    """Create an authority: authority.key and trust."""
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    if (folder / "trust").exists():
        raise CertificateError(
            f"{folder / 'trust'} exists already: an authority is made once; use another --dir"
        )
    authority = create_authority(folder / "authority.key", _new_passphrase(lock))
    trust = authority.found(int(time.time()), days)
    write_new(folder / "trust", trust.text, 0o644)
    click.echo(f"{folder / 'authority.key'}  secret: signs certificates; keep it off the nodes")
    click.echo(f"{folder / 'trust'}  public: every node and client needs it")


@certs.command()
@_FOLDER
@_DAYS
def server(folder: Path, days: int) -> None:
    """Make the pair that all nodes show to clients, and enter it into the trust file.

    Run again to replace it: the trust file then names both, so hand it out first, restart the nodes
    with the new pair after. The old files are renamed.
    """
    authority, trust = _open_authority(folder)
    _set_aside(folder, "server")
    certificate = _issue(folder, authority, "server", "server", days, None)
    now = int(time.time())
    kept = sorted((*trust.servers(now), certificate), key=lambda c: -c.serial)[:_SERVERS_KEPT]
    replace_file(folder / "trust", trust._replace(server_certificates=tuple(kept)).text, 0o644)
    click.echo(f"{folder / 'trust'}  now names {len(kept)} server certificate(s)")


@certs.command()
@click.argument("names", nargs=-1, required=True)
@_FOLDER
@_DAYS
def node(names: tuple[str, ...], folder: Path, days: int) -> None:
    """Make a pair for each node NAME (as in --initial-cluster)."""
    authority, _trust = _open_authority(folder)
    for name in names:
        _issue(folder, authority, name, "node", days, None)


@certs.command()
@click.argument("name")
@_FOLDER
@_DAYS
@click.option("--role", type=click.Choice(CLIENT_ROLES), default="writer", show_default=True)
@click.option("--lock", is_flag=True, help="Ask for a passphrase for the key.")
def client(name: str, folder: Path, days: int, role: str, lock: bool) -> None:
    """Make a pair for a person or a program NAME."""
    authority, _trust = _open_authority(folder)
    _issue(folder, authority, name, role, days, _new_passphrase(lock))


@certs.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def show(files: tuple[Path, ...]) -> None:
    """Say what is in certificates and trust files, their signatures not checked against yours."""
    for path in files:
        for line in _describe(path):
            click.echo(line)


@certs.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--cacert",
    type=click.Path(path_type=Path),
    help="The trust file.  [default: trust, beside each]",
)
def verify(files: tuple[Path, ...], cacert: Path | None) -> None:
    """Check certificates: signature, time, and the key file beside them."""
    for path in files:
        trust = load_trust(cacert or path.parent / "trust")
        certificate = trust.read(read_file(path), str(path), int(time.time()), ROLES)
        soon = end_in_words(certificate.not_after, int(time.time()))
        click.echo(f"{path}: good, {_sentence(certificate)}{_key_beside(path, certificate)}")
        if soon:
            click.echo(f"warning: {path} {soon}", err=True)


# -- making --------------------------------------------------------------------------------------
def _issue(
    folder: Path,
    authority: Authority,
    name: str,
    role: str,
    days: int,
    passphrase: str | None,
) -> Certificate:
    """NAME.key and NAME.cert, neither written over an older one."""
    cert_path, key_path = folder / f"{name}.cert", folder / f"{name}.key"
    pair = draw_curve_pair()
    certificate = authority.certify(name, pair.public, role, time.time_ns() // 1_000_000, days)
    if cert_path.exists():
        raise CertificateError(f"{cert_path} exists already: move it and its key away to renew it")
    write_secret(key_path, KIND, pair.secret, passphrase)
    write_new(cert_path, certificate.text, 0o644)
    click.echo(f"{cert_path}  {_sentence(certificate)}")
    return certificate


def _open_authority(folder: Path) -> tuple[Authority, Trust]:
    path = folder / "authority.key"
    if not path.exists():
        raise CertificateError(f"{path} does not exist: run `dkvctl certs init --dir {folder}`")
    passphrase = None
    if is_locked(path):
        passphrase = click.prompt(f"Passphrase of {path}", hide_input=True, err=True)
    authority = load_authority(path, passphrase)
    trust = load_trust(folder / "trust")
    if trust.authority != authority.public:
        raise CertificateError(f"{folder / 'trust'} is another authority's than {path}")
    return authority, trust


def _new_passphrase(lock: bool) -> str | None:
    if not lock:
        return None
    phrase: str = click.prompt(
        "New passphrase", hide_input=True, confirmation_prompt=True, err=True
    )
    return phrase


def _set_aside(folder: Path, name: str) -> None:
    """The pair of before keeps working under a name with its serial."""
    cert, key = folder / f"{name}.cert", folder / f"{name}.key"
    if not cert.exists():
        return
    old = read_certificate(read_file(cert), load_trust(folder / "trust").authority, str(cert))
    for path in (cert, key):
        path.rename(path.with_stem(f"{name}-{old.serial}"))
    click.echo(f"{cert} and its key are now {name}-{old.serial}.*")


# -- looking -------------------------------------------------------------------------------------
def _sentence(certificate: Certificate) -> str:
    return (
        f"{certificate.role} {certificate.name}, serial {certificate.serial}, "
        f"{day(certificate.not_before)} to {day(certificate.not_after)}"
    )


def _describe(path: Path) -> list[str]:
    text = read_file(path, bytes_max=64 * 1024)
    if b"DKV AUTHORITY" in text:
        trust = load_trust(path)
        days = f"{day(trust.not_before)} to {day(trust.not_after)}"
        lines = [f"{path}: trust file, authority {trust.authority.hex()[:16]}, {days}"]
        return lines + [f"  {_sentence(c)}" for c in trust.server_certificates]
    beside = path.parent / "trust"
    if not beside.exists():
        raise CertificateError(f"{path}: no trust file beside it; use verify --cacert")
    certificate = read_certificate(text, load_trust(beside).authority, str(path))
    return [f"{path}: {_sentence(certificate)}"]


def _key_beside(path: Path, certificate: Certificate) -> str:
    key = path.with_suffix(".key")
    if not key.exists():
        return "; no key beside it"
    if is_locked(key):
        return "; its key is locked"
    if curve_pair(read_secret(key, KIND)).public != certificate.curve_key:
        raise CertificateError(f"{key} is not the key of {path}: they belong to different pairs")
    return "; its key fits"
