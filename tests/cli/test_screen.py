"""What a watch shows: a table of the ends, a sentence for each thing that happens."""

import io
from typing import Any

from rich.console import Console
from rich.table import Table

from hasten.cli._screen import Screen, ended, sentence

END = {
    "kind": "end", "source": "/a/long/path/to/camera-of-the-yard.mp4", "said": "ended", "failed": False, "frames": 600,
    "dropped": 3, "events": 2, "stream_s": 10.0, "seconds": 5.0, "latency_p50_ms": 4.25, "latency_p99_ms": None,
}  # fmt: skip


def rows(table: Table) -> list[list[str]]:
    out = io.StringIO()
    Console(file=out, width=120).print(table)
    return [line.strip().split(maxsplit=6) for line in out.getvalue().splitlines()[3:] if line.strip()]


def test_the_table_of_the_ends() -> None:
    (row,) = rows(ended([END]))
    assert row[1:] == ["120.0", "2.0", "4.2", "3", "2", "ended"]
    assert END["source"].endswith(row[0].removeprefix("…"))
    assert len(row[0]) <= 24


def test_the_table_follows_the_lines() -> None:
    """Whoever tells them: figures as they are, an event while it lasts, the last ones, and what failed."""
    screen, shown = Screen(False), []

    class Live:
        console = Console(file=io.StringIO())

        def update(self, table: Table, refresh: bool) -> None:
            shown.append(rows(table))

    screen._live = Live()

    def tell(kind: str, **fields: Any) -> str:
        screen.tell({"kind": kind, "source": "a", **fields})
        (row,) = rows(screen.table())
        return "".join(row[6:])

    figures = {k: v for k, v in END.items() if k not in ("kind", "source", "said", "failed")}
    assert tell("figures", **figures) == ""
    assert shown == [[["a", "120.0", "2.0", "4.2", "3", "2"]]]
    assert tell("begin", label=0, name="shot", begin=1_500_000_000) == "shot since 1.50 s"
    assert tell("begin", label=1, name="pass", begin=1_600_000_000) == "shot since 1.50 s, pass since 1.60 s"
    assert tell("event", label=0, name="shot", begin=1_500_000_000, end=1_700_000_000, peak=0.9) == (
        "shot at 1.50 s, pass since 1.60 s"
    )
    assert tell("end", **{**figures, "said": "ended early", "failed": True}) == "ended early"
    assert len(shown) == 1


def test_sentences() -> None:
    event = {
        "kind": "event",
        "source": "a",
        "name": "crossing",
        "begin": 1_500_000_000,
        "end": 2_000_000_000,
        "peak": 0.9,
    }
    assert sentence(event) == "a: crossing from 1.50 to 2.00 s, peak 0.90"
    begin = {"kind": "begin", "source": "a", "name": "crossing", "begin": 1_500_000_000}
    assert sentence(begin) == "a: crossing begins at 1.50 s"
    assert sentence({"kind": "drop", "source": "a", "frames": 3}) == "a: 3 frames dropped"
    assert sentence({"kind": "gap", "source": "a", "from": 1, "to": 2_000_000_000}) == "a: a gap before 2.00 s"
    assert sentence(END) == f"{END['source']}: ended"
