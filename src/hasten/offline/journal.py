"""The journal of a job: which shards are on disk, and which samples could not be answered; it survives a power cut."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hasten import files
from hasten.errors import InputError

NAME = "journal.sqlite"
_TABLES = """
create table if not exists job (identity text not null, plan text not null, finished integer not null default 0);
create table if not exists shards (place integer primary key, rows integer not null, sha256 text not null);
create table if not exists errors (place integer not null, position integer not null, id text not null,
                                   reason text not null);
create index if not exists errors_of on errors (place, position);
"""


class Journal:
    """`OUT/journal.sqlite`. A shard is entered, with its errors, after its file has its name."""

    def __init__(self, folder: Path) -> None:
        """
        Raises:
            InputError: the folder cannot be used now, or holds a damaged journal.
        """
        self.path = folder / NAME
        files.make_folder(folder)
        try:
            self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            self._db.execute("pragma journal_mode = wal")
            self._db.execute("pragma synchronous = full")
            self._db.executescript(_TABLES)
        except sqlite3.Error as fault:
            raise self._refused(fault) from fault

    def begun(self) -> tuple[dict[str, Any], dict[str, Any], bool] | None:
        """Identity and plan of the job that is here, and whether it has ended."""
        found = self._execute("select identity, plan, finished from job")
        return (json.loads(found[0][0]), json.loads(found[0][1]), bool(found[0][2])) if found else None

    def begin(self, identity: Mapping[str, Any], plan: Mapping[str, Any]) -> None:
        self._execute("insert into job (identity, plan) values (?, ?)", (json.dumps(identity), json.dumps(plan)))

    def end(self, place: int, rows: int, sha256: str, errors: Sequence[tuple[int, str, str]]) -> None:
        """A shard is whole: so many rows, the digest of its file, and position, id and reason of what has none."""
        self._execute("begin")
        self._execute("insert or replace into shards values (?, ?, ?)", (place, rows, sha256))
        self._execute("delete from errors where place = ?", (place,))
        for position, name, reason in errors:
            self._execute("insert into errors values (?, ?, ?, ?)", (place, position, name, reason))
        self._execute("commit")

    def shards(self) -> dict[int, tuple[int, str]]:
        """Those that are whole: place -> rows, SHA-256."""
        return {place: (rows, digest) for place, rows, digest in self._execute("select * from shards order by place")}

    def errors(self) -> list[tuple[str, str]]:
        """Id and reason, in the order of the inputs."""
        return self._execute("select id, reason from errors order by place, position, rowid")

    def error_count(self) -> int:
        return int(self._execute("select count(*) from errors")[0][0])

    def finish(self) -> None:
        self._execute("update job set finished = 1")

    def _execute(self, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
        """The rows that it gives."""
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.Error as fault:
            raise self._refused(fault) from fault

    def _refused(self, fault: sqlite3.Error) -> InputError:
        """The sentence: what a disk refuses passes, and only without a journal is what has been done lost."""
        if isinstance(fault, sqlite3.DatabaseError) and not isinstance(fault, sqlite3.OperationalError):
            return InputError(f"{self.path} is damaged ({fault})", f"remove {self.path.parent} and start again")
        return InputError(
            f"{self.path} cannot be used ({fault})",
            "see to room and permission, and to other jobs there; then add --resume",
        )

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
