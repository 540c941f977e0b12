"""The store: every trial in SQLite as it happens, so that a run killed at any moment goes on where it was."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hasten import files
from hasten.errors import HastenError, InputError, Passing
from hasten.search.trial import Trial

STORE = "trials.sqlite"
_TABLES = """
create table if not exists run (identity text not null, finished integer not null default 0);
create table if not exists trials (
    key text primary key,
    place integer not null,
    status text not null,
    started integer not null default 0,
    row text not null
);
"""


class Store:
    """`DIR.trials/trials.sqlite`: counts how often a trial was started; its status is `pending` until it has ended."""

    def __init__(self, folder: Path) -> None:
        """
        Raises:
            InputError: the folder cannot be written, or holds a damaged store.
        """
        self.path = folder / STORE
        with files.writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            self._db = sqlite3.connect(self.path, isolation_level=None)
            self._db.execute("pragma journal_mode = wal")
            self._db.execute("pragma synchronous = full")
            self._db.executescript(_TABLES)
        except sqlite3.Error as fault:
            raise InputError(f"{self.path} cannot be used ({fault})", f"remove {folder} and start again") from fault

    def begin(self, identity: Mapping[str, Any], resume: bool) -> bool:
        """Start a run, or go on with the one that is here.

        Returns:
            Whether this is a new one: then nothing that was made before may be used.

        Args:
            identity: what the run depends on, by a name people know: model, data, options.

        Raises:
            InputError: an unfinished run is here and `resume` was not asked for; or it was, and something has changed.
        """
        here = self._execute("select identity, finished from run").fetchone()
        if here and resume:
            before = json.loads(here[0])
            changed = sorted(k for k in {*before, *identity} if before.get(k) != identity.get(k))
            if changed:
                raise InputError(
                    f"the run in {self.path.parent} had another {', '.join(changed)}",
                    "give the same again, or start anew in another folder",
                )
            return False
        if here and not here[1]:
            raise InputError(
                f"{self.path.parent} holds a run that has not ended",
                "add --resume to go on with it, or remove the folder",
            )
        self._execute("begin")
        self._execute("delete from run")
        self._execute("delete from trials")
        self._execute("insert into run (identity) values (?)", (json.dumps(identity, sort_keys=True),))
        self._execute("commit")
        return True

    @property
    def finished(self) -> bool:
        here = self._execute("select finished from run").fetchone()
        return bool(here and here[0])

    def finish(self) -> None:
        self._execute("update run set finished = 1")

    def plan(self, trial: Trial) -> Trial:
        """The trial as it is stored; entered as pending when it is new."""
        self._execute(
            "insert or ignore into trials (key, place, status, row) values (?, (select count(*) from trials), ?, ?)",
            (trial.key, trial.status, json.dumps(trial.to_json())),
        )
        row, status = self._execute("select row, status from trials where key = ?", (trial.key,)).fetchone()
        return trial if status == "pending" else Trial.from_json(json.loads(row))

    def ended(self, trial: Trial) -> Trial | None:
        """What came of the trial, if it has ended."""
        found = self._execute("select row from trials where key = ? and status != 'pending'", (trial.key,)).fetchone()
        return Trial.from_json(json.loads(found[0])) if found else None

    def start(self, trial: Trial) -> None:
        self._execute("update trials set started = started + 1 where key = ?", (trial.key,))

    def end(self, trial: Trial) -> Trial:
        """Keep the outcome; it is on disk when this returns."""
        self._execute(
            "update trials set status = ?, row = ? where key = ?",
            (trial.status, json.dumps(trial.to_json()), trial.key),
        )
        return trial

    def fail(self, trial: Trial, fault: HastenError) -> Trial:
        """Keep that it cannot be measured, and why; where that may pass, it is tried again when the run is resumed."""
        failed = replace(trial, status="failed", reason=str(fault))
        return failed if isinstance(fault, Passing) else self.end(failed)

    def end_all(self, trials: list[Trial]) -> list[Trial]:
        """Keep the outcomes of trials that were measured together: all of them or, after a kill, none."""
        self._execute("begin")
        for trial in trials:
            self.end(trial)
        self._execute("commit")
        return trials

    def trials(self) -> list[Trial]:
        """All of them in the order in which they were planned."""
        return [Trial.from_json(json.loads(row)) for (row,) in self._execute("select row from trials order by place")]

    def _execute(self, statement: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        try:
            return self._db.execute(statement, values)
        except sqlite3.Error as fault:  # a full disk, most likely
            raise InputError(f"{self.path} cannot be written ({fault})", "make room, then add --resume") from fault

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()
