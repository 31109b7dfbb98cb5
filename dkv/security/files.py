"""Files of keys and certificates: made durably, never over another, read with suspicion.

Owns: their permissions and their errors in words. Must never know what is in them.
"""

import os
import stat
from pathlib import Path

from dkv.security.refusal import CertificateError

FILE_BYTES_MAX = 4_096


def write_new(path: Path, data: bytes, mode: int) -> None:
    """A file that was not there, durable on return."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError as error:
        raise CertificateError(
            f"{path} exists already: nothing was written over it; move it away if you want another"
        ) from error
    except OSError as error:
        raise CertificateError(f"{path} cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(file, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        _sync_folder(path.parent)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise CertificateError(f"{path} cannot be written: {error.strerror}") from error


def replace_file(path: Path, data: bytes, mode: int) -> None:
    """The file with new content, or with its old one, never with half."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    write_new(draft, data, mode)
    os.replace(draft, path)
    _sync_folder(path.parent)


def read_file(path: Path, *, private: bool = False, bytes_max: int = FILE_BYTES_MAX) -> bytes:
    """What is in it. `CertificateError`: missing, unreadable, too long, or open to others."""
    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            data = stream.read(bytes_max + 1)
    except FileNotFoundError as error:
        raise CertificateError(f"{path} does not exist") from error
    except OSError as error:
        raise CertificateError(f"{path} cannot be read: {error.strerror}") from error
    if private and stat.S_IMODE(mode) & 0o077:
        raise CertificateError(f"{path} can be read by others: chmod 600 {path}")
    if len(data) > bytes_max:
        raise CertificateError(f"{path} is too long to be what it should be")
    return data


def _sync_folder(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
