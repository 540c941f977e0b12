"""The judge: what an entrant's answers are worth, beside those of the original model."""

import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hasten import files
from hasten.data import Data
from hasten.drop import paired_drop
from hasten.errors import HastenError, InputError
from hasten.measure.stand import Stand
from hasten.model import Arrays
from hasten.search.trial import Trial, scoring
from hasten.search.workshop import Workshop


class Judge:
    """Scores sessions on the splits of a task; the original's rows are kept in the workshop."""

    def __init__(self, shop: Workshop, seed: int) -> None:
        self.shop, self.seed = shop, seed
        self.metric = shop.task.measure

    def original(self, stand: Stand, split: Literal["validate", "test"], trial: Trial) -> dict[str, Any]:
        """Score the original model, and remember its rows (and answers, where they are the target)."""
        answers = self._answers(stand, split, trial)
        if self._target(split) is None:
            files.write(self._kept(split, "target"), lambda p: _save(p, np.asarray(next(iter(answers.values())))))
        rows = self._rows(answers, split)
        self._forget(split, trial)
        files.write(self._kept(split, "rows"), lambda p: _save(p, rows))
        return scoring(self._total(rows), None, len(rows), split)

    def score(self, stand: Stand, split: Literal["validate", "test"], trial: Trial) -> dict[str, Any]:
        """The accuracy columns of an entrant, with its paired drop from the original."""
        rows = self._rows(self._answers(stand, split, trial), split)
        self._forget(split, trial)
        before = np.load(self._kept(split, "rows"))
        with self._users():
            drop = paired_drop(self.metric, before, rows, self.shop.task.split(split).groups, self.seed)
        return scoring(self._total(rows), drop, len(rows), split)

    def _answers(self, stand: Stand, split: Literal["validate", "test"], trial: Trial) -> Arrays:
        return stand.answers(self.shop.feed(split, trial.recipe), self._place(split, trial))

    def _forget(self, split: Literal["validate", "test"], trial: Trial) -> None:
        """Answers can be far larger than the data; their rows are all that is asked for again."""
        shutil.rmtree(self._place(split, trial), ignore_errors=True)

    def _place(self, split: str, trial: Trial) -> Path:
        return self.shop.answers(f"{split}-{trial.key}")

    def _rows(self, answers: Arrays, split: Literal["validate", "test"]) -> np.ndarray:
        target = self._target(split)
        if target is None:
            target = np.load(self._kept(split, "target"))
        with self._users():
            rows = np.asarray(self.metric.rows(answers, target))
        if len(rows) != (n := len(self.shop.task.split(split))):
            raise InputError(
                f"the metric {self.metric.name!r} gives {len(rows)} rows for {n} samples", "give one row a sample"
            )
        return rows

    def _total(self, rows: np.ndarray) -> float:
        with self._users():
            total = float(self.metric.total(rows))
        if not math.isfinite(total):
            raise InputError(f"the metric {self.metric.name!r} comes to {total}", "let its total be a finite number")
        return total

    @contextmanager
    def _users(self) -> Iterator[None]:
        """Around the user's own functions: what they raise becomes a sentence."""
        try:
            yield
        except HastenError:
            raise
        except Exception as fault:
            said = f"{type(fault).__name__}: {fault}".splitlines()[0]
            raise InputError(f"the metric {self.metric.name!r} raises {said}", "mend the metric") from fault

    def _target(self, split: Literal["validate", "test"]) -> np.ndarray | None:
        data: Data = self.shop.task.split(split)
        return None if self.metric.reference else data.target

    def _kept(self, split: str, what: str) -> Path:
        return self.shop.folder / "original" / f"{split}-{what}.npy"


def _save(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)
