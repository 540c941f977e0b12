"""What a watch shows: a table of the ends, a sentence for each thing that happens."""

import io

from rich.console import Console

from hasten.cli._screen import ended, sentence

END = {
    "kind": "end", "source": "/a/long/path/to/camera-of-the-yard.mp4", "said": "ended", "failed": False, "frames": 600,
    "dropped": 3, "events": 2, "stream_s": 10.0, "seconds": 5.0, "latency_p50_ms": 4.25, "latency_p99_ms": None,
}  # fmt: skip


def test_the_table_of_the_ends() -> None:
    out = io.StringIO()
    Console(file=out, width=100).print(ended([END]))
    row = out.getvalue().splitlines()[-2].split()
    assert row[1:] == ["120.0", "2.0", "4.2", "3", "2", "ended"]
    assert END["source"].endswith(row[0].removeprefix("…"))
    assert len(row[0]) <= 24


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
    assert sentence({"kind": "drop", "source": "a", "frames": 3}) == "a: 3 frames dropped"
    assert sentence({"kind": "gap", "source": "a", "from": 1, "to": 2_000_000_000}) == "a: a gap before 2.00 s"
    assert sentence(END) == f"{END['source']}: ended"
