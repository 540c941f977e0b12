"""Faults of sources, and of what they give, that are told alike in Python and in C++."""

import io
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from films import BRIGHT, DARK, TICKS, film, frame, pulses, steady, watcher
from told import HASTY, LIGHT, Line, built, of

from hasten import Bundle
from hasten.stream.process import Process
from hasten.stream.source import Source
from hasten.stream.watch import Watch

Run = Callable[..., list[Line]]


@pytest.fixture(params=["python", "cpp"])
def run(request: pytest.FixtureRequest) -> Run:
    """Watches, and gives the lines. It is stopped at a line for which `until` holds; `tell` takes each."""

    def ran(
        bundle: Bundle,
        *sources: object,
        until: Callable[[Line], bool] = lambda line: False,
        tell: Callable[[Line], object] = lambda line: None,
    ) -> list[Line]:
        lines: list[Line] = []

        def told(line: Line) -> None:
            lines.append(line)
            tell(line)
            if until(line):
                watch.stop()

        watch: Watch | Process
        if request.param == "python":
            given = [Source.of(str(s)) for s in sources]
            watch = Watch(bundle, given, told, patience=HASTY, windows=True)
        else:
            watch = Process(bundle.folder, list(map(str, sources)), told, patience=HASTY, windows=True)
        watch.run()
        return lines

    if request.param == "cpp":
        built()
    return ran


@contextmanager
def served(content: bytes, at_once: int) -> Iterator[str]:
    """A URL: to each who connects the first bytes at once, and of the rest what eight seconds take."""

    def give(to: socket.socket) -> None:
        with to, suppress(OSError):
            to.sendall(content[:at_once])
            for at in range(at_once, len(content), 752)[:400]:
                to.sendall(content[at : at + 752])
                time.sleep(0.02)

    def serve() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=give, args=(server.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def broadcast(garbage: bool) -> tuple[bytes, int]:
    """Picture and sound for eight seconds, then sound alone, or with it pictures that are none; where that begins."""
    import av

    rng, file, mark = np.random.default_rng(0), io.BytesIO(), 0
    with av.open(file, "w", format="mpegts") as container:
        video, sound = container.add_stream("libx264", rate=60), container.add_stream("mp2", rate=48000)
        video.width, video.height, video.pix_fmt, video.gop_size = 64, 48, "yuv420p", 30
        video.options = {"preset": "veryfast", "tune": "zerolatency"}
        silence = av.AudioFrame("s16", "stereo", 1152)
        silence.sample_rate = 48000
        for i in range(40 * 60):
            if i % 60 < 41:  # about as many as there are in a second
                silence.pts, silence.time_base = (i // 60 * 41 + i % 60) * 1152, Fraction(1, 48000)
                container.mux(sound.encode(silence))
            if i < 8 * 60:
                picture = frame((64, 48), DARK, rng)
                picture.pts, picture.time_base = i, Fraction(1, 60)
                container.mux(video.encode(picture))
                mark = file.tell()
            elif garbage:
                packet = av.Packet(b"\0\0\0\1\x41" + rng.integers(1, 255, 200, np.uint8).tobytes())
                packet.pts = packet.dts = i
                packet.time_base, packet.stream = Fraction(1, 60), video
                container.mux(packet)
    return file.getvalue(), mark


@pytest.mark.parametrize(
    ("garbage", "said"), [(False, "it gave no video for 0.3 s"), (True, "its video gave no frame for 0.5 s")]
)
def test_a_stream_that_gives_all_but_frames_is_opened_again(bundle: Bundle, run: Run, garbage: bool, said: str) -> None:
    with served(*broadcast(garbage)) as url:
        lines = run(bundle, url, until=lambda x: "again" in x.get("said", ""))
    assert said in of(lines, "source")[1]["said"]


def packets(path: Path) -> list[tuple[int, int]]:
    """Where each packet of a film lies, and how long it is, in the order of the file."""
    import av

    with av.open(str(path)) as container:
        return [(p.pos, p.size) for p in container.demux(video=0) if p.size]


def spoilt(path: Path, *numbers: int) -> Path:
    """The film with these packets overwritten."""
    content = bytearray(path.read_bytes())
    for at, size in (packets(path)[n] for n in numbers):
        content[at + 4 : at + size] = bytes([0xFF]) * (size - 4)
    made = path.with_stem("spoilt")
    made.write_bytes(content)
    return made


def test_a_film_of_which_nothing_decodes_has_failed(bundle: Bundle, tmp_path: Path, run: Run) -> None:
    path = film(tmp_path / "film.mp4", steady(2), LIGHT)
    (end,) = of(run(bundle, spoilt(path, *range(120))), "end")
    assert end["failed"]
    assert end["said"].startswith("gave no frame")


def test_frames_of_another_format_end_a_live_source_at_once(bundle: Bundle, run: Run) -> None:
    """However often it is opened, it gives no other."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mpegts") as container:
        video = container.add_stream("libx264", rate=60)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv444p"
        for i in range(240):
            picture = frame((64, 48), DARK, np.random.default_rng(0), pix_fmt="yuv444p")
            picture.pts, picture.time_base = i, Fraction(1, 60)
            container.mux(video.encode(picture))
        container.mux(video.encode())
    with served(file.getvalue(), len(file.getvalue())) as url:
        lines = run(bundle, url)
    assert [x["said"] for x in of(lines, "source")] == ["opened"]
    assert of(lines, "end")[0]["said"].startswith("the source gives frames of yuv444p")


def test_gaps_say_what_was_damaged_in_them(bundle: Bundle, tmp_path: Path, run: Run) -> None:
    """Some frames at 1.3 s, too few for a gap; a clean gap at 2.5 s; the film's last frames, a gap without end."""
    ticks = [t for t in steady(5) if not 2.5 <= t / TICKS < 3.0]
    path = film(tmp_path / "film.mp4", ticks, LIGHT)
    lines = run(bundle, spoilt(path, 80, 262))
    (end,), (clean, last) = of(lines, "end"), of(lines, "gap")
    assert clean["from"] == pytest.approx(2.5e9, abs=2e7)
    assert clean["to"] == pytest.approx(3.0e9, abs=2e7)
    assert clean["untrusted"] == 0
    assert 4.7e9 < last["from"] < 5.0e9
    assert last["to"] is None
    assert 0 < last["untrusted"] < end["untrusted"]
    assert lines[-2:] == [last, end]


def test_a_gap_at_the_begin(bundle: Bundle, tmp_path: Path, run: Run) -> None:
    """The receiver flags a part of the first frame: nothing can be trusted until the next key frame."""
    path = film(tmp_path / "film.ts", steady(3), LIGHT, format_name="mpegts")
    content = bytearray(path.read_bytes())
    pictures = [at for at in range(0, len(content), 188) if content[at + 1] & 0x1F == 1 and content[at + 2] == 0]
    content[pictures[6] + 1] |= 0x80  # libav says it of the packet before
    path.write_bytes(content)
    lines = run(bundle, path)
    (end,), (gap,) = of(lines, "end"), of(lines, "gap")
    assert gap["from"] is None
    assert gap["to"] < min(w["end"] for w in of(lines, "window"))
    assert gap["untrusted"] == end["untrusted"] > 0
    assert lines.index(gap) == 1


def test_the_coverage_of_a_long_event_is_that_of_all_its_windows(bundle: Bundle, tmp_path: Path, run: Run) -> None:
    """A slow source at first, which repeats frames, and a quicker one for seven minutes."""
    ticks = [i * TICKS // 5 for i in range(15)] + [3 * TICKS + i * TICKS // 10 for i in range(4200)]
    lines = run(bundle, film(tmp_path / "long.mp4", ticks, pulses((1.0, 1000.0)), size=(16, 16)))
    (event,) = of(lines, "event")
    inside = [w["coverage"] for w in of(lines, "window") if event["begin"] <= w["end"] <= event["end"]]
    assert len(inside) > 4096
    assert event["coverage"] == min(inside) < 1 == max(inside)


def test_a_score_that_is_no_number_in_any_row_ends_the_event(tmp_path: Path, run: Run) -> None:
    """Too bright a light for the second row: the largest of a number and none is none."""
    path = film(tmp_path / "film.mp4", steady(3), lambda t: DARK if t < 1 else BRIGHT if t < 2 else 243)
    lines = run(watcher(tmp_path / "watcher", limit=10.0), path)
    (event,) = of(lines, "event")
    assert event["end"] / 1e9 == pytest.approx(2.1, abs=0.2)
    assert [w["scores"] for w in of(lines, "window") if 2.6e9 < w["end"] < 2.9e9] == [[None]] * 2


def test_who_writes_into_a_pipe_is_told_that_its_source_has_ended(bundle: Bundle, tmp_path: Path, run: Run) -> None:
    """While another source goes on."""
    bad, quiet = tmp_path / "bad", tmp_path / "quiet"
    for path in (bad, quiet):
        os.mkfifo(path)
    ended = threading.Event()

    def write() -> None:
        with bad.open("wb", buffering=0) as pipe, suppress(BrokenPipeError):
            while True:
                pipe.write(b"no video" * 8192)
        ended.set()

    def hold() -> None:
        with quiet.open("wb", buffering=0):
            ended.wait(20)

    threads = [threading.Thread(target=work, daemon=True) for work in (write, hold)]
    for thread in threads:
        thread.start()
    while_it_went_on: list[bool] = []
    run(bundle, bad, quiet, tell=lambda x: x["source"] == str(bad) or while_it_went_on.append(ended.is_set()))
    assert while_it_went_on[-1]
