"""The one atomic writer: whatever lands on disk is whole or absent, and survives a power cut."""

import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hasten.errors import InputError

_DISK = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "the disk quota is used up: free some space",
    errno.EROFS: "the disk is read-only: choose another folder",
    errno.EACCES: "permission is denied: choose a folder you may write to",
    errno.EPERM: "permission is denied: choose a folder you may write to",
}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what a disk refuses while `path` is written into one sentence.

    Raises:
        InputError: the disk is full, read-only or not ours to write to.
    """
    try:
        yield
    except OSError as fault:
        if fault.errno in _DISK:
            raise InputError(f"{path} cannot be written", _DISK[fault.errno]) from fault
        raise


def write(path: Path, content: bytes | str | Callable[[Path], object]) -> Path:
    """Write a file whole: under a temporary name beside it, fsync, rename.

    Args:
        path: where it goes; missing parent folders are made.
        content: bytes, text, or a function that writes to the path it is given.

    Raises:
        InputError: the disk is full, read-only or not ours to write to; nothing is left behind.
    """
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.aside")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if callable(content):
                content(aside)
            else:
                aside.write_bytes(content if isinstance(content, bytes) else content.encode())
            _sync(aside)
            os.replace(aside, path)
            _sync(path.parent)
    finally:
        aside.unlink(missing_ok=True)
    return path


def replace_folder(made: Path, target: Path) -> None:
    """Put the finished folder `made` in the place of `target`: at every moment one of the two is whole on disk."""
    with writing(target):
        for file in made.rglob("*"):
            _sync(file)
        old = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.old")
        if target.exists():
            os.replace(target, old)
        os.replace(made, target)
        _sync(target.parent)
        shutil.rmtree(old, ignore_errors=True)


def sha256(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_folder() -> Path:
    """Where machine-wide results are kept: $HASTEN_CACHE, else ~/.cache/hasten."""
    return Path(os.environ.get("HASTEN_CACHE") or Path.home() / ".cache" / "hasten")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
