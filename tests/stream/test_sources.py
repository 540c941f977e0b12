"""Watching: sources. Every fault that one can have, those that wait and those that drop, and the end of all."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from films import y4m
from told import HASTY, LIGHT, MAIN, Line, near, of, watched

from hasten import Bundle
from hasten.errors import InputError
from hasten.stream import decode, source
from hasten.stream.source import Patience, Source
from hasten.stream.watch import Watch

FEEDER = """import sys, time
sys.path.insert(0, {0!r})
from films import pulses, y4m
with open({1!r}, "wb", 0) as pipe:
    for part in y4m(6, pulses((1.0, 2.0), (4.6, 5.3))):
        pipe.write(part)
        time.sleep(0.004)
"""


@pytest.mark.parametrize("at", range(3))
def test_a_truncated_file_keeps_its_events_and_says_how_it_ended(
    bundle: Bundle, films: Path, tmp_path: Path, at: int
) -> None:
    whole = (films / "steady.ts").read_bytes()
    short = tmp_path / "short.ts"
    short.write_bytes(whole[: len(whole) * (7 + at) // 10])
    _, lines = watched(bundle, [short])
    assert near(of(lines, "event")[:1], 1.0)
    (end,) = of(lines, "end")
    assert end["said"].startswith("ended")
    assert end["frames"] < 300


def test_a_file_without_its_index_is_one_line(bundle: Bundle, films: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.mp4"
    short.write_bytes((films / "steady.mp4").read_bytes()[:-3000])
    whole, lines = watched(bundle, [short])
    assert not whole
    (end,) = of(lines, "end")
    assert end["failed"]
    assert "cannot be opened" in end["said"]


@pytest.mark.parametrize("seed", range(4))
def test_corrupt_packets_are_gaps(bundle: Bundle, films: Path, tmp_path: Path, seed: int) -> None:
    """Bytes are overwritten within a second of the film: no window is made of what depends on them."""
    rng = np.random.default_rng(seed)
    content = bytearray((films / "steady.ts").read_bytes())
    for place in rng.integers(len(content) * 4 // 10, len(content) * 5 // 10, 6):
        content[place : place + 40] = rng.integers(0, 256, 40, np.uint8).tobytes()
    damaged = tmp_path / "damaged.ts"
    damaged.write_bytes(content)
    _, lines = watched(bundle, [damaged], windows=True)
    _, intact = watched(bundle, [films / "steady.ts"], windows=True)
    (end,) = of(lines, "end")
    assert end["untrusted"] > 0
    right = {w["end"]: w["scores"] for w in of(intact, "window")}
    told = [w for w in of(lines, "window") if w["coverage"] == 1 and w["end"] in right]
    assert len(told) > 10
    for one in told:
        np.testing.assert_allclose(one["scores"], right[one["end"]], atol=1e-3)


def piped(path: Path, content: Callable[[Callable[[bytes], None]], None]) -> threading.Thread:
    """A writer at the other end of a named pipe."""
    os.mkfifo(path)

    def write() -> None:
        with path.open("wb", buffering=0) as pipe, suppress(BrokenPipeError):
            content(pipe.write)  # type: ignore[arg-type]

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    return thread


def test_a_pipe_at_sixty_frames_a_second_keeps_up(bundle: Bundle, tmp_path: Path) -> None:
    def feed(write: Callable[[bytes], None]) -> None:
        began = time.monotonic()
        for i, part in enumerate(y4m(2.5, LIGHT)):
            time.sleep(max(0.0, began + i / 60 - time.monotonic()))
            write(part)

    piped(tmp_path / "pipe", feed)
    whole, lines = watched(bundle, [tmp_path / "pipe"], patience=Patience())
    (end,) = of(lines, "end")
    assert whole
    assert end["frames"] == 150
    assert end["dropped"] == 0
    assert near(of(lines, "event"), 1.0)


def test_a_stalled_pipe_is_said_and_given_up(bundle: Bundle, films: Path, tmp_path: Path) -> None:
    release = threading.Event()

    def feed(write: Callable[[bytes], None]) -> None:
        for part in y4m(2.5, LIGHT):
            write(part)
        release.wait(20)

    piped(tmp_path / "pipe", feed)
    whole, lines = watched(bundle, [tmp_path / "pipe", films / "steady.mp4"])
    release.set()
    assert not whole
    said = [x["said"] for x in of(lines, "source", str(tmp_path / "pipe"))]
    assert "gives nothing for 0.3 s" in said
    (end,) = of(lines, "end", str(tmp_path / "pipe"))
    assert end["failed"]
    assert near(of(lines, "event", str(tmp_path / "pipe")), 1.0)
    assert near(of(lines, "event", str(films / "steady.mp4")), 1.0, 3.0)


def test_a_live_source_faster_than_the_machine_drops_the_oldest_and_says_so(bundle: Bundle, films: Path) -> None:
    source = Source(str(films / "steady.mp4"), "file", live=True)
    _, lines = watched(bundle, [source], waiting=4, seen=lambda i, f: time.sleep(0.004))
    (end,) = of(lines, "end")
    assert end["dropped"] > 0
    assert end["dropped"] == sum(d["frames"] for d in of(lines, "drop"))
    assert end["dropped"] + end["frames"] == 300
    times = [(d["from"], d["to"]) for d in of(lines, "drop")]
    assert times == sorted(times)


def test_a_file_waits_and_never_drops(bundle: Bundle, films: Path) -> None:
    _, lines = watched(bundle, [films / "steady.mp4"], waiting=2, seen=lambda i, f: time.sleep(0.001))
    (end,) = of(lines, "end")
    assert end["dropped"] == 0
    assert end["frames"] == 300


def test_a_live_source_is_opened_again_and_given_up_in_the_end(bundle: Bundle, films: Path) -> None:
    """A file that is taken for a camera: each time that it ends it is opened anew, with a clock of its own."""
    watch: list[Watch] = []
    lines: list[Line] = []

    def tell(line: Line) -> None:
        lines.append(line)
        if len(of(lines, "event")) >= 5:
            watch[0].stop()

    watch.append(Watch(bundle, [Source(str(films / "steady.mp4"), "live", live=False)], tell, patience=HASTY))
    assert watch[0].run()
    (end,) = of(lines, "end")
    assert end["said"] == "stopped"
    assert end["connections"] >= 2
    assert "is opened again" in of(lines, "source")[1]["said"]
    whole, lines = watched(bundle, [Source("tcp://127.0.0.1:9", "live", live=True)])
    assert not whole
    assert "gave no frame for 1 s" in of(lines, "end")[0]["said"]


def test_the_feeder_of_one_of_four_is_killed_and_the_others_go_on(bundle: Bundle, tmp_path: Path) -> None:
    """Four processes write into four pipes; one of them is killed. Events already written stay, the others end well."""
    paths = [tmp_path / f"pipe{i}" for i in range(4)]
    for path in paths:
        os.mkfifo(path)
    here = str(Path(__file__).parents[1])
    feeders = [subprocess.Popen([sys.executable, "-c", FEEDER.format(here, str(p))]) for p in paths]
    lines: list[Line] = []

    def tell(line: Line) -> None:
        lines.append(line)
        if line["kind"] == "event" and line["source"] == str(paths[1]):
            feeders[1].send_signal(signal.SIGKILL)

    Watch(bundle, [Source.of(str(p)) for p in paths], tell, patience=Patience(10, 1, 1, 20)).run()
    for feeder in feeders:
        feeder.wait()
    for i, path in enumerate(paths):
        (end,) = of(lines, "end", str(path))
        assert near(of(lines, "event", str(path)), *((1.0, 4.6) if i != 1 else (1.0,)))
        assert end["frames"] == 360 or i == 1


def test_a_camera_is_asked_for_what_is_read(bundle: Bundle, films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its options alone, since there is no camera here: MJPEG, and what it gives where it has none."""
    asked = []

    def opened(place: str, **how: object) -> object:
        asked.append(how.get("options"))
        if how.get("options"):
            raise InputError("/dev/video0 cannot be opened (Invalid argument)")
        return decode.opened(films / "steady.mp4")

    monkeypatch.setattr(source, "opened", opened)
    watch: list[Watch] = []
    given = Source("/dev/video0", "live", live=True)
    watch.append(Watch(bundle, [given], lambda line: watch[0].stop(), patience=HASTY))
    assert watch[0].run()
    assert asked == [{"input_format": "mjpeg"}, None]


def test_what_is_no_source_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        Source.of(str(tmp_path / "none.mp4"))
    with pytest.raises(InputError, match="neither"):
        Source.of(str(tmp_path))


def test_sigterm_flushes_and_ends_well(bundle: Bundle, tmp_path: Path) -> None:
    """The command: what was told is in the file, and the open event is ended."""
    fifo, out = tmp_path / "pipe", tmp_path / "out.jsonl"
    os.mkfifo(fifo)
    release = threading.Event()

    def feed() -> None:
        with fifo.open("wb", buffering=0) as pipe:
            for part in y4m(3.5, LIGHT):
                pipe.write(part)
            release.wait(60)

    threading.Thread(target=feed, daemon=True).start()
    command = [sys.executable, "-c", MAIN, "watch", str(bundle.folder), str(fifo), "--jsonl", str(out), "-q"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(600):
        if out.exists() and out.read_text().count('"begin", "source"') == 2:
            break
        time.sleep(0.1)
    process.terminate()
    _, said = process.communicate(timeout=60)
    release.set()
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert process.returncode == 0, said
    assert near(of(lines, "event"), 1.0, 3.0)
    assert of(lines, "end")[0]["said"] == "stopped"


def test_the_command_says_which_source_failed(bundle: Bundle, films: Path, tmp_path: Path) -> None:
    from hasten.cli import main

    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    out = tmp_path / "out.jsonl"
    code = main(
        ["watch", str(bundle.folder), str(films / "steady.mp4"), str(bad), "--jsonl", str(out), "--windows", "-q"]
    )
    assert code == 3
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert near(of(lines, "event", str(films / "steady.mp4")), 1.0, 3.0)
    assert of(lines, "window")
