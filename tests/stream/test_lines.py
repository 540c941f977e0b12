"""The file of a watch's lines: on full disks, and after others."""

import json
from pathlib import Path
from typing import Any

import pytest

from hasten.errors import InputError
from hasten.stream.lines import Lines

LINE = {"kind": "begin", "source": "a", "name": "bright"}


class Nearly:
    """A disk that takes a few bytes at a time, and at last none."""

    def __init__(self, file: Any, room: int) -> None:
        self._file, self._room = file, room

    def write(self, content: bytes) -> int:
        some = min(7, self._room, len(content))
        if not some:
            raise OSError(28, "No space left on device")
        self._room -= some
        return int(self._file.write(content[:some]))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def test_a_line_is_whole_or_an_error(tmp_path: Path) -> None:
    """What is cut off stays a line of its own."""
    path = tmp_path / "out.jsonl"
    with Lines(path) as lines:
        lines._file = Nearly(lines._file, 2 * len(json.dumps(LINE)))  # type: ignore[assignment]
        lines.tell(LINE)
        with pytest.raises(InputError, match="cannot be written"):
            lines.tell(LINE)
        lines._file._room = 10**6  # type: ignore[attr-defined]
        lines.tell(LINE)
    first, cut, last = path.read_text().splitlines()
    assert json.loads(first) == json.loads(last) == LINE
    assert json.dumps(LINE).startswith(cut)


@pytest.mark.parametrize("cut", ["", '{"kind": "be'])
def test_a_run_leaves_the_lines_of_the_one_before(tmp_path: Path, cut: str) -> None:
    """Of a watch that was killed in the middle of a line, too."""
    path = tmp_path / "folder" / "out.jsonl"
    with Lines(path) as lines:
        lines.tell(LINE)
    with path.open("a") as file:
        file.write(cut)
    with Lines(path) as lines:
        lines.tell(LINE)
        lines.tell(LINE)
    assert path.read_text().splitlines() == [json.dumps(LINE), *[cut] * bool(cut), *[json.dumps(LINE)] * 2]
