"""Whole or absent, whatever happens: full disks, kills, readers at the wrong moment."""

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hasten import files
from hasten.errors import InputError


def test_bytes_text_and_functions(tmp_path: Path) -> None:
    assert files.write(tmp_path / "a" / "b.txt", "grün").read_text() == "grün"
    assert files.write(tmp_path / "c", b"\x00").read_bytes() == b"\x00"
    assert files.write(tmp_path / "d", lambda p: p.write_text("made")).read_text() == "made"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "c", "d"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EROFS, "another folder"),
        (errno.EACCES, "may write"),
    ],
)
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_what_a_disk_refuses_is_a_sentence(
    code: int, words: str, step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    (tmp_path / "x").write_text("old")
    monkeypatch.setattr(files.os, step, refuse)
    with pytest.raises(InputError, match=words):
        files.write(tmp_path / "x", "new")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("x", "old")]


def test_really_full_disk(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match="the disk is full"),
        files.writing(tmp_path),
        open("/dev/full", "wb", 0) as full,
    ):
        full.write(b"x")


@pytest.mark.parametrize("inside", ["x", "x/y"])
def test_a_file_where_a_folder_should_be(inside: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("file")
    with pytest.raises(InputError, match="is a file"):
        files.write(tmp_path / inside / "z", "text")
    assert (tmp_path / "x").read_text() == "file"


def test_a_fault_of_the_writer_passes_and_nothing_stays(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.write_text("half")
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        files.write(tmp_path / "x", fail)
    assert not list(tmp_path.iterdir())


def test_killed_in_the_middle(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("old")
    code = (
        "import os, signal, sys; from pathlib import Path; from hasten import files\n"
        "def half(path):\n    path.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
        "files.write(Path(sys.argv[1]), half)"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path / "x")], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert (tmp_path / "x").read_text() == "old"
    assert all(p.name == "x" or p.name.endswith(".aside") for p in tmp_path.iterdir())


def test_synced_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    sync, rename = files.os.fsync, files.os.replace

    def fsync(handle: int) -> None:
        order.append("fsync folder" if Path(f"/proc/self/fd/{handle}").is_dir() else "fsync file")
        sync(handle)

    def replace(one: Path, other: Path) -> None:
        order.append("rename")
        rename(one, other)

    monkeypatch.setattr(files.os, "fsync", fsync)
    monkeypatch.setattr(files.os, "replace", replace)
    files.write(tmp_path / "x", "text")
    assert order == ["fsync file", "rename", "fsync folder"]


def folder(path: Path, text: str) -> Path:
    for name in ("a", "deep/b"):
        files.write(path / name, text)
    return path


def read(path: Path) -> set[str]:
    return {p.read_text() for p in path.rglob("*") if p.is_file()}


@pytest.mark.parametrize("exchanges", [True, False])
def test_replace_folder(exchanges: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not exchanges:
        monkeypatch.setattr(files, "_exchange", lambda *_: False)
    for text in ("one", "two"):
        files.replace_folder(folder(tmp_path / "made", text), tmp_path / "target")
        assert read(tmp_path / "target") == {text}
        assert [p.name for p in tmp_path.iterdir()] == ["target"]


def test_replace_folder_never_leaves_a_gap(tmp_path: Path) -> None:
    files.replace_folder(folder(tmp_path / "made", "0"), tmp_path / "target")
    if not files._exchange(folder(tmp_path / "p", "p"), folder(tmp_path / "q", "q")):
        pytest.skip("this file system cannot exchange names")
    gaps, stop = [], threading.Event()

    def watch() -> None:
        while not stop.is_set():
            if not (tmp_path / "target" / "a").exists() and not (tmp_path / "target").exists():
                gaps.append(1)

    thread = threading.Thread(target=watch)
    thread.start()
    for i in range(40):
        files.replace_folder(folder(tmp_path / "made", str(i)), tmp_path / "target")
    stop.set()
    thread.join()
    assert not gaps


def test_a_failed_second_step_brings_the_old_one_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path / "target", "old"), folder(tmp_path / "made", "new")
    rename, calls = files.os.rename, []

    def second_fails(one: Path, other: Path) -> None:
        calls.append(one)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "full")
        rename(one, other)

    monkeypatch.setattr(files, "_exchange", lambda *_: False)
    monkeypatch.setattr(files.os, "rename", second_fails)
    with pytest.raises(InputError, match="full"):
        files.replace_folder(tmp_path / "made", tmp_path / "target")
    assert read(tmp_path / "target") == {"old"}


def test_a_file_is_not_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        files.replace_folder(folder(tmp_path / "made", "new"), tmp_path / "target")
    assert (tmp_path / "target").read_text() == "mine"
