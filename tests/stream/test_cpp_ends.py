"""hasten-watch, the process alone: what it says of damage, disks that are full, and signals while a source hangs."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from films import film, steady
from told import LIGHT

from hasten import Bundle, cpp

pytestmark = pytest.mark.usefixtures("hasten_watch")


def test_it_says_nothing_of_damaged_frames_but_its_lines(bundle: Bundle, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = film(tmp_path / "film.ts", steady(5), LIGHT, format_name="mpegts")
    content = bytearray(path.read_bytes())
    for place in rng.integers(len(content) * 3 // 10, len(content) * 6 // 10, 20):
        content[place : place + 30] = rng.integers(0, 256, 30, np.uint8).tobytes()
    path.write_bytes(content)
    ended = subprocess.run([cpp.watch_program(), bundle.folder, path], capture_output=True, text=True)
    assert '"gap"' in ended.stdout
    assert ended.stderr == ""


def test_lines_that_cannot_be_written_are_an_error(bundle: Bundle, tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", steady(2), LIGHT)
    with Path("/dev/full").open("wb") as full:
        words = [cpp.watch_program(), bundle.folder, path]
        ended = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 3
    assert ended.stderr.startswith("hasten-watch: the lines cannot be written (No space left on device); ")


def test_a_signal_ends_it_though_a_source_hangs(bundle: Bundle, tmp_path: Path) -> None:
    """libav opens a pipe to which nobody writes, as if it were a file: that cannot be interrupted."""
    os.mkfifo(tmp_path / "pipe")
    good = film(tmp_path / "film.mp4", steady(5), LIGHT)
    words = [cpp.watch_program(), bundle.folder, f"cache:file://{tmp_path}/pipe", good]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        lines = []
        for text in process.stdout:
            lines.append(json.loads(text))
            if lines[-1]["kind"] == "end":  # of the film
                began = time.monotonic()
                process.send_signal(signal.SIGTERM)
                break
        try:
            rest, _ = process.communicate(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert time.monotonic() - began < 10
    (end,) = map(json.loads, rest.splitlines())
    assert (end["kind"], end["said"], end["failed"]) == ("end", "stopped", False)
    assert process.returncode == 0
