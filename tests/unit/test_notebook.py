"""The notebook: what it keeps, and that nobody waits for it."""

from pathlib import Path

import pytest

from actors import notebook
from actors.notebook import Notebook
from dkv.errors import Ending, Fault


def test_notes_are_there_again(tmp_path: Path) -> None:
    book = Notebook(tmp_path / "notebook.db")
    book.write({"members": {"n1": ["10.0.0.1", 2380]}, "gone": 1})
    book.write({"gone": None})
    book.close()
    again = Notebook(tmp_path / "notebook.db")
    assert again.names() == ["members"]
    assert again.get("members") == {"n1": ["10.0.0.1", 2380]}
    again.close()


def test_a_thread_that_died_on_a_full_disk_holds_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sqlitedict's thread dies inside commit(); whoever asks it then would wait for ever."""
    monkeypatch.setattr(notebook, "_PATIENCE_S", 0.05)
    book = Notebook(tmp_path / "notebook.db")
    book.write({"a": 1})
    thread = book._book.conn
    thread.close(force=True)  # it has ended, and nobody answers any more
    thread.join()
    with pytest.raises(Fault) as caught:
        book.get("a")
    assert caught.value.ending is Ending.DISK_UNWRITABLE
    book.close()  # an orderly stop is not a failure for it
