"""hasten-watch, in C++: the same lines as Python on intact films, the same faults, and the command."""

import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from films import TICKS, film, pulses, steady, y4m
from told import HASTY, LIGHT, MAIN, Line, of

from hasten import Bundle, cpp
from hasten.cli import main
from hasten.errors import InputError, UsageError
from hasten.stream.process import Process
from hasten.stream.source import Patience, Source
from hasten.stream.watch import Watch

pytestmark = pytest.mark.usefixtures("hasten_watch")

TIMES = ("seconds", "latency_ms", "latency_p50_ms", "latency_p99_ms", "stream_s", "source")


def python(bundle: Bundle, *sources: object, **how: Any) -> list[Line]:
    lines: list[Line] = []
    Watch(bundle, [Source.of(str(s)) for s in sources], lines.append, **{"patience": HASTY} | how).run()
    return lines


def native(bundle: Bundle, *sources: object, **how: Any) -> list[Line]:
    lines: list[Line] = []
    Process(bundle.folder, list(map(str, sources)), lines.append, **{"patience": HASTY} | how).run()
    return lines


def told(lines: list[Line]) -> list[Line]:
    """What does not depend on the machine's speed."""
    return [{k: v for k, v in line.items() if k not in TIMES} for line in lines]


def kinds(seed: int) -> list[int]:
    """Timestamps of a film: steady, variable, with holes and a gap, each frame twice."""
    rng, ticks = np.random.default_rng(seed), steady(5)
    if seed % 4 == 1:
        return [int(t) for t in np.cumsum(rng.integers(480, 2400, 400)) if t < 5 * TICKS]
    if seed % 4 == 2:
        return [t for t in ticks if rng.random() > 0.2 and not 2.2 < t / TICKS < 2.7]
    return ticks


@pytest.mark.parametrize("seed", range(20))
def test_the_same_lines_on_intact_films(bundle: Bundle, tmp_path: Path, seed: int) -> None:
    """Events, gaps, counts and every window's score, on films of every kind and two containers."""
    rng = np.random.default_rng(100 + seed)
    begins = np.sort(rng.uniform(0.5, 4.5, 4)).tolist()
    light = pulses((begins[0], begins[1]), (begins[2], begins[3]))
    shown = light if seed % 4 != 3 else (lambda t: light(np.floor(t * 30 + 1e-6) / 30))
    path = film(tmp_path / f"film.{'ts' if seed % 5 == 4 else 'mp4'}", kinds(seed), shown,
                format_name="mpegts" if seed % 5 == 4 else None, noise=0 if seed % 4 == 3 else 12)  # fmt: skip
    ours, theirs = python(bundle, path, windows=True), native(bundle, path, windows=True)
    assert told(ours) == told(theirs)
    assert of(ours, "window")
    assert [b["begin"] for b in of(ours, "begin")] == [e["begin"] for e in of(ours, "event")]


@pytest.mark.parametrize("seed", range(10))
def test_the_same_outside_withheld_windows_on_damaged_films(bundle: Bundle, tmp_path: Path, seed: int) -> None:
    """Two versions of the decoder conceal differently; windows that both tell are the same."""
    rng = np.random.default_rng(seed)
    content = bytearray(film(tmp_path / "whole.ts", steady(5), LIGHT, format_name="mpegts").read_bytes())
    for place in rng.integers(len(content) * 3 // 10, len(content) * 6 // 10, 4):
        content[place : place + 30] = rng.integers(0, 256, 30, np.uint8).tobytes()
    damaged = tmp_path / "damaged.ts"
    damaged.write_bytes(content)
    ours, theirs = (
        {w["end"]: w["scores"] for w in lines if w["kind"] == "window" and w["coverage"] == 1}
        for lines in (python(bundle, damaged, windows=True), native(bundle, damaged, windows=True))
    )
    both = ours.keys() & theirs.keys()
    assert len(both) >= 10
    assert {t: ours[t] for t in both} == {t: theirs[t] for t in both}


def test_a_pipe_and_the_end_of_its_writer(bundle: Bundle, tmp_path: Path) -> None:
    def fed(run: Callable[[str], list[Line]], name: str) -> list[Line]:
        pipe = tmp_path / name
        os.mkfifo(pipe)

        def write() -> None:
            with pipe.open("wb", buffering=0) as to:
                for part in y4m(2.5, LIGHT):
                    to.write(part)

        threading.Thread(target=write, daemon=True).start()
        return run(str(pipe))

    calm = Patience()  # a machine that does much else may stall the writer
    ours = fed(lambda p: python(bundle, p, patience=calm), "a")
    theirs = fed(lambda p: native(bundle, p, patience=calm), "b")
    assert told(ours) == told(theirs)
    assert [x["kind"] for x in ours] == ["source", "begin", "event", "end"]


def test_figures_are_told_while_it_goes_on(bundle: Bundle, tmp_path: Path) -> None:
    """The same names and counts from both; they rise, and end where the end has them."""
    path = film(tmp_path / "film.mp4", steady(3), LIGHT)
    found = []
    for run in (python, native):
        lines = run(bundle, path, figures_s=0.001)
        figures, (end,) = of(lines, "figures"), of(lines, "end")
        assert len(figures) > 1
        for name in ("frames", "windows", "seconds", "stream_s"):
            values = [line[name] for line in [*figures, end]]
            assert values == sorted(values)
        assert all(line.keys() == end.keys() - {"said", "failed"} for line in figures)
        assert told([x for x in lines if x["kind"] != "figures"]) == told(run(bundle, path))
        found.append(figures[0].keys())
    assert found[0] == found[1]
    for wrong in ("0", "nan", "often"):
        words = [cpp.watch_program(), bundle.folder, path, "--figures", wrong]
        assert subprocess.run(words, capture_output=True).returncode == UsageError.exit_code


def test_standard_input(bundle: Bundle) -> None:
    content = b"".join(y4m(2.5, LIGHT))
    ended = subprocess.run([cpp.watch_program(), bundle.folder, "-"], input=content, capture_output=True)
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert ended.returncode == 0
    assert [x["kind"] for x in lines] == ["source", "begin", "event", "end"]


def test_one_that_fails_stops_no_other(bundle: Bundle, tmp_path: Path) -> None:
    bad, stalled = tmp_path / "bad.mp4", tmp_path / "stalled"
    bad.write_bytes(b"no video")
    os.mkfifo(stalled)
    good = film(tmp_path / "good.mp4", steady(5), LIGHT)
    lines = native(bundle, bad, good, stalled)
    ends = {x["source"]: x for x in lines if x["kind"] == "end"}
    assert ends[str(bad)]["failed"]
    assert "cannot be opened" in ends[str(bad)]["said"]
    assert ends[str(stalled)]["failed"]
    assert ends[str(good)]["said"] == "ended"
    assert len([x for x in lines if x["kind"] == "event" and x["source"] == str(good)]) == 2


def test_the_command(bundle: Bundle, tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", steady(5), LIGHT)
    found = []
    for more in ([], ["--cpp"]):
        out = tmp_path / f"out{len(more)}.jsonl"
        assert main(["watch", str(bundle.folder), str(path), "--jsonl", str(out), "-q", *more]) == 0
        found.append(told([json.loads(line) for line in out.read_text().splitlines()]))
    assert found[0] == found[1]


def test_what_cannot_watch_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    golden = Path(__file__).parents[2] / "spec" / "golden" / "classifier"
    with pytest.raises(InputError, match="no time window"):
        Process(golden, [str(golden / "bundle.json")], print).run()
    with pytest.raises(InputError, match="does not exist"):
        native(bundle, tmp_path / "none.mp4")


@pytest.mark.parametrize("more", [[], ["--cpp"]], ids=["python", "cpp"])
def test_the_table_on_a_terminal(bundle: Bundle, tmp_path: Path, more: list[str]) -> None:
    """It is drawn while the watch goes on, an event in it while it lasts."""
    path = film(tmp_path / "film.mp4", steady(2), pulses((0.3, 2.0)))
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", MAIN, "watch", str(bundle.folder), str(path), "--live", *more]
    terminal = {**os.environ, "TERM": "xterm", "COLUMNS": "160"}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs, env=terminal) as process:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # the other side is closed
            while part := os.read(ours, 65536):
                shown += part
    os.close(ours)
    assert process.returncode == 0
    screen = shown.decode()
    assert screen.count("x real") >= 3
    assert "bright since 0." in screen
    assert f"{path}: ended" in screen
