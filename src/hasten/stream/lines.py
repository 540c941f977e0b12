"""What is told, as lines of JSON in a file: each is out as soon as it is told, and stays when the process is killed."""

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hasten import files


class Lines:
    """Use it as a context manager: what it wrote is on the disk when it is left.

    They go behind those that the file has. A line that was cut off, by a full disk or a kill, stays one of its own.
    """

    def __init__(self, path: Path) -> None:
        """
        Raises:
            InputError: it cannot be written.
        """
        self._path = path
        with files.writing(path):
            files.make_folder(path.parent)
            self._file = path.open("ab", buffering=0)
            self._cut = _is_cut(path)

    def tell(self, line: dict[str, Any]) -> None:
        """
        Raises:
            InputError: the disk is full, or worse.
        """
        left = (b"\n" if self._cut else b"") + json.dumps(line, allow_nan=False).encode() + b"\n"
        with files.writing(self._path):
            while left:  # a disk that is nearly full takes a part
                left = left[self._file.write(left) :]
                self._cut = bool(left)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        with files.writing(self._path):
            if os.path.isfile(self._path):  # noqa: PTH113 - not a pipe or a terminal
                os.fsync(self._file.fileno())
            self._file.close()


def _is_cut(path: Path) -> bool:
    """Whether the file's last line has no end."""
    if not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"
