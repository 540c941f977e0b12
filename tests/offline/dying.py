"""Workers in trouble: that die of some samples, as an engine may, that are slow, or whose disk is full once."""

import errno
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from hasten.model import Arrays
from hasten.offline.worker import Worker

DEADLY = 777.0


class Dying(Worker):
    def open(self, **opened: object) -> int:
        views = super().open(**opened)  # type: ignore[arg-type]
        infer = self._bundle.infer

        def checked(prepared: Arrays) -> dict:
            if any((a == DEADLY).any() for a in prepared.values()):
                os.kill(os.getpid(), signal.SIGSEGV)
            return infer(prepared)

        object.__setattr__(self._bundle, "infer", checked)
        return views


class Wide(Worker):
    """Dies of images that are wider than six pixels."""

    def open(self, **opened: object) -> int:
        views = super().open(**opened)  # type: ignore[arg-type]
        infer = self._bundle.infer

        def checked(prepared: Arrays) -> dict:
            if prepared["image"].shape[-1] > 6:
                os.kill(os.getpid(), signal.SIGSEGV)
            return infer(prepared)

        object.__setattr__(self._bundle, "infer", checked)
        return views


class Slow(Worker):
    SAMPLE_S = 0.1

    def open(self, **opened: object) -> int:
        views = super().open(**opened)  # type: ignore[arg-type]
        infer = self._bundle.infer

        def slowly(prepared: Arrays) -> dict:
            time.sleep(self.SAMPLE_S * len(next(iter(prepared.values()))))
            return infer(prepared)

        object.__setattr__(self._bundle, "infer", slowly)
        return views


class Full(Worker):
    """Half of the marked part is on the disk when there is no room left; the mark, a file beside `out`, goes then."""

    MARK = "part-000003"

    def shard(self, places: Sequence[Sequence[Any]], batch: int, path: str, skip: Mapping[str, str]) -> dict[str, Any]:
        mark, write = Path(path).parents[1] / self.MARK, Path.write_bytes

        def full(place: Path, content: bytes) -> int:
            mark.unlink()
            write(place, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        if not (Path(path).stem == self.MARK and mark.exists()):
            return super().shard(places, batch, path, skip)
        with mock.patch.object(Path, "write_bytes", full):
            return super().shard(places, batch, path, skip)
