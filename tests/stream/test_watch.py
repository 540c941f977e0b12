"""Watching: what comes of frames. Events on intact films, what is spared, gaps, and times that go back."""

import math
from pathlib import Path

import numpy as np
import pytest
from films import BRIGHT, DARK, FPS, LENGTH, TICKS, WINDOW, film, pulses, steady, watcher
from told import LIGHT, Line, near, of, watched

from hasten import Bundle
from hasten.errors import InputError
from hasten.stream.decode import frames
from hasten.stream.sampler import Sampler
from hasten.stream.source import Source
from hasten.stream.stream import Stream
from hasten.stream.watch import Watch


@pytest.mark.parametrize("name", ["steady.mp4", "variable.mp4", "holes.mp4", "twice.mp4", "steady.ts"])
def test_events_of_an_intact_film(bundle: Bundle, films: Path, name: str) -> None:
    """Whatever the source does to time. A file is never dropped from, and the ring gives what whole windows give."""
    whole, lines = watched(bundle, [films / name], windows=True)
    assert whole
    assert near(of(lines, "event"), 1.0, 3.0)
    (end,) = of(lines, "end")
    assert end["said"] == "ended"
    assert end["dropped"] == end["untrusted"] == 0
    assert not of(lines, "drop") + of(lines, "gap")
    sampler = Sampler(WINDOW)
    samples = [s.frame.array() for f in frames(str(films / name)) for s in sampler.push(f)]
    clips = np.stack([samples[i - LENGTH : i] for i in range(LENGTH, len(samples) + 1)])
    logits = bundle({"frame": clips})["score"][:, 0].astype(np.float64)
    told = [w["scores"][0] for w in of(lines, "window")]
    np.testing.assert_allclose(told, 1 / (1 + np.exp(-logits)), atol=1e-6)


def test_a_frame_is_encoded_once_and_the_same_bytes_never_again(bundle: Bundle, films: Path, tmp_path: Path) -> None:
    _, lines = watched(bundle, [films / "steady.mp4"])
    (end,) = of(lines, "end")
    assert end["encoded"] == end["samples"] == 50
    assert end["windows"] == 50 - LENGTH + 1
    still = film(tmp_path / "still.mp4", steady(3), lambda t: DARK, noise=0)
    _, lines = watched(bundle, [still])
    (end,) = of(lines, "end")
    assert end["samples"] == 30
    assert end["encoded"] <= 5
    assert end["encoded"] + end["same_bytes"] == 30


def test_an_event_is_told_when_it_begins(bundle: Bundle, films: Path) -> None:
    """At the window that decides it, and long before its end; figures only where they are asked for."""
    _, lines = watched(bundle, [films / "steady.mp4"], windows=True)
    begins, events = of(lines, "begin"), of(lines, "event")
    assert [(b["name"], b["label"], b["begin"]) for b in begins] == [("bright", 0, e["begin"]) for e in events]
    for begin, event in zip(begins, events, strict=True):
        (decided,) = (w for w in of(lines, "window") if w["end"] == begin["begin"])
        at = lines.index(begin)
        assert lines[at - 1] == decided
        assert begin["score"] == decided["scores"][0] >= 0.7
        assert begin["coverage"] == decided["coverage"]
        assert begin["latency_ms"] > 0
        between = of(lines[at : lines.index(event)], "window")
        assert len(between) >= 8
    assert not of(lines, "figures")


def test_what_is_not_finite_has_a_line_all_the_same(tmp_path: Path) -> None:
    """JSON has no word for it."""
    source, told = Source("a", "file"), []
    stream = Stream(source, watcher(tmp_path), told.append, windows=True)
    stream._tell("window", end=1, scores=[0.5, math.nan], peak=math.inf)
    assert told == [{"kind": "window", "source": "a", "end": 1, "scores": [0.5, None], "peak": None}]


def test_who_takes_the_lines_fails_and_no_source_is_blamed(bundle: Bundle, films: Path) -> None:
    """A full disk for a moment: the watch says so, and tells no end of a source that is well."""
    lines: list[Line] = []

    def tell(line: Line) -> None:
        lines.append(line)
        if line["kind"] == "begin":
            raise InputError("the disk is full")

    with pytest.raises(InputError, match="the disk is full"):
        Watch(bundle, [Source.of(str(films / "steady.mp4"))], tell).run()
    assert [x["kind"] for x in lines] == ["source", "begin"]


def test_a_slow_source_repeats_frames_and_the_coverage_says_so(bundle: Bundle, tmp_path: Path) -> None:
    path = film(tmp_path / "slow.mp4", steady(3, fps=5), LIGHT)
    _, lines = watched(bundle, [path], windows=True)
    (end,) = of(lines, "end")
    assert end["encoded"] < end["samples"]
    assert end["same_bytes"] == 0
    assert {w["coverage"] for w in of(lines, "window")} <= {0.4, 0.6}
    assert all(0.4 <= e["coverage"] <= 0.6 for e in of(lines, "event"))


def test_a_gap_withholds_windows_and_ends_events(bundle: Bundle, tmp_path: Path) -> None:
    """Half a second is missing in the middle of light: an event before it and one after, no window over it."""
    ticks = [t for t in steady(5) if not 2.0 <= t / TICKS < 2.5]
    _, lines = watched(bundle, [film(tmp_path / "gap.mp4", ticks, pulses((1.0, 4.0)))], windows=True)
    (gap,) = of(lines, "gap")
    assert gap["from"] == pytest.approx(2.0e9, abs=2e7)
    assert gap["to"] == pytest.approx(2.5e9, abs=2e7)
    assert not [
        w for w in of(lines, "window") if gap["from"] + 1e8 < w["end"] < gap["to"] + (LENGTH - 1) / FPS * 1e9 - 1e8
    ]
    first, second = of(lines, "event")
    assert first["end"] <= gap["from"] + 1e8
    assert second["begin"] >= gap["to"]


def test_another_size_within_a_stream_goes_on(bundle: Bundle, tmp_path: Path) -> None:
    """Two streams one after the other in one pipe of packets: the pipeline's size is what counts."""
    parts = [
        film(tmp_path / f"{i}.h264", steady(2), lambda t: BRIGHT, size=size, format_name="h264", gop=30)
        for i, size in enumerate([(64, 48), (128, 96)])
    ]
    both = tmp_path / "both.h264"
    both.write_bytes(b"".join(p.read_bytes() for p in parts))
    whole, lines = watched(bundle, [both])
    (end,) = of(lines, "end")
    assert whole
    assert end["frames"] >= 230


def test_timestamps_that_go_back_begin_a_new_segment(bundle: Bundle, films: Path, tmp_path: Path) -> None:
    both = tmp_path / "both.ts"
    both.write_bytes((films / "steady.ts").read_bytes() * 2)
    _, lines = watched(bundle, [both])
    assert near(of(lines, "event"), 1.0, 3.0, 1.0, 3.0)
    (gap,) = of(lines, "gap")
    assert gap["to"] < gap["from"]


def test_a_bundle_without_a_window_is_refused(tmp_path: Path) -> None:
    golden = Path(__file__).parents[2] / "spec" / "golden" / "classifier"
    with Bundle.load(golden, verify=False) as other, pytest.raises(InputError, match="no time window"):
        Watch(other, [], print)
