"""What a watch tells, for the tests of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from films import pulses

from hasten import Bundle, cpp
from hasten.errors import MissingError
from hasten.stream.source import Patience, Source
from hasten.stream.watch import Watch

LIGHT = pulses((1.0, 2.0), (3.0, 4.0))
HASTY = Patience(stall_s=0.3, backoff_s=0.05, most_backoff_s=0.1, give_up_s=1.0)
MAIN = "import sys; from hasten.cli import main; sys.exit(main())"
Line = dict[str, Any]


def built() -> None:
    """hasten-watch is there, or the test is skipped with what it needs."""
    try:
        cpp.watch_program()
    except MissingError as reason:
        pytest.skip(str(reason))


def watched(bundle: Bundle, sources: Sequence[str | Path | Source], **how: Any) -> tuple[bool, list[Line]]:
    lines: list[Line] = []
    given = [s if isinstance(s, Source) else Source.of(str(s)) for s in sources]
    whole = Watch(bundle, given, lines.append, **{"patience": HASTY} | how).run()
    return whole, lines


def of(lines: list[Line], kind: str, source: object = None) -> list[Line]:
    return [x for x in lines if x["kind"] == kind and source in (None, x["source"])]


def near(events: list[Line], *begins: float) -> bool:
    """Whether the events begin where they should: within a window's half length and a sample."""
    found = [e["begin"] / 1e9 for e in events]
    return len(found) == len(begins) and all(0 <= f - b <= 0.5 for f, b in zip(found, begins, strict=True))
