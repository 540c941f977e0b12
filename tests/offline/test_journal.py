"""What a journal that cannot be used says: to start again only where there is nothing to go on with."""

import sqlite3
from pathlib import Path

import pytest

from hasten import files
from hasten.errors import InputError, Passing
from hasten.model import Signature, Tensor
from hasten.offline import output
from hasten.offline.journal import NAME, Journal


def test_a_damaged_journal(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(bytes(range(256)) * 40)
    with pytest.raises(InputError, match=f"is damaged.*remove {tmp_path} and start again"):
        Journal(tmp_path)


def test_a_journal_that_somebody_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect
    other = connect(tmp_path / NAME, isolation_level=None)
    other.execute("begin exclusive")
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **k, timeout=0.01))
    with pytest.raises(InputError, match=r"is locked.*then add --resume"):
        Journal(tmp_path)
    other.close()


def test_a_journal_without_permission(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    with pytest.raises(InputError, match=r"unable to open database file.*then add --resume"):
        Journal(tmp_path)


def test_what_has_begun_to_be_read(tmp_path: Path) -> None:
    """Rows come when all of them are read: a journal that is damaged in the middle is told so too."""
    Journal(tmp_path).close()
    db = sqlite3.connect(tmp_path / NAME)
    db.executemany("insert into shards values (?, 1, ?)", [(place, "x" * 64) for place in range(2000)])
    db.commit()
    db.execute("pragma wal_checkpoint(truncate)")
    db.close()
    content = bytearray((tmp_path / NAME).read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 4096 * 4] = bytes(4096 * 4)
    (tmp_path / NAME).write_bytes(bytes(content))
    with Journal(tmp_path) as journal, pytest.raises(InputError, match="is damaged"):
        journal.shards()


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_part_that_cannot_be_read(tmp_path: Path, form: output.Form) -> None:
    path = output.part(tmp_path, 0, form)
    path.write_bytes(b"no rows")
    with pytest.raises(InputError, match="remove that file and add --resume"):
        list(output.ids(path, form))


def test_parquet_on_a_full_disk(tmp_path: Path) -> None:
    """The device is behind a link, since pyarrow removes what it could not write."""
    signature = Signature((Tensor("x", "float32", ("N", 2)),), (Tensor("y", "float32", ("N", 2)),))
    row = {"id": "a", "bundle": "b", "y": [1.0, 2.0]}

    def write(aside: Path) -> None:
        aside.symlink_to("/dev/full")
        output._parquet([row], {"y": 1}, signature, aside)

    with pytest.raises(Passing, match="the disk is full"):
        files.write(tmp_path / "part.parquet", write)
    assert not list(tmp_path.iterdir())
