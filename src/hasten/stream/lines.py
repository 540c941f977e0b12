"""What is told, as lines of JSON in a file: each is out as soon as it is told, and stays when the process is killed."""

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hasten import files


class Lines:
    """Use it as a context manager: what it wrote is on the disk when it is left."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            InputError: it cannot be written.
        """
        self._path = path
        with files.writing(path):
            files.make_folder(path.parent)
            self._file = path.open("wb", buffering=0)

    def tell(self, line: dict[str, Any]) -> None:
        """
        Raises:
            InputError: the disk is full, or worse.
        """
        with files.writing(self._path):
            self._file.write((json.dumps(line, allow_nan=False) + "\n").encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        with files.writing(self._path):
            if os.path.isfile(self._path):  # noqa: PTH113 - not a pipe or a terminal
                os.fsync(self._file.fileno())
            self._file.close()
