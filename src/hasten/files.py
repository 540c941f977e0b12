"""The one atomic writer: whatever lands on disk is whole or absent, and survives a power cut."""

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hasten.errors import InputError, Passing

_DISK = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "the disk quota is used up: free some space",
    errno.EROFS: "the disk is read-only: choose another folder",
    errno.EACCES: "permission is denied: choose a folder you may write to",
    errno.EPERM: "permission is denied: choose a folder you may write to",
    errno.ENOTDIR: "a part of this path is a file: choose another folder",
    errno.EEXIST: "a part of this path is a file: choose another folder",
    errno.EISDIR: "it is a folder: choose another name",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
    errno.EIO: "the disk reports an error: choose another one",
}
_ROOM = (errno.ENOSPC, errno.EDQUOT)
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what a disk refuses while `path` is written into one sentence.

    Raises:
        InputError: the disk is full, read-only or not ours to write to, or the path cannot be.
    """
    try:
        yield
    except OSError as fault:
        if fault.errno in _DISK:
            kind = Passing if fault.errno in _ROOM else InputError
            raise kind(f"{path} cannot be written", _DISK[fault.errno]) from fault
        raise


def write(path: Path, content: bytes | str | Callable[[Path], object]) -> Path:
    """Write a file whole: under a temporary name beside it, fsync, rename.

    A process killed on the way leaves the old file, and a hidden `.name.*.aside` that nobody reads.

    Args:
        path: where it goes; missing parent folders are made.
        content: bytes, text, or a function that writes to the path it is given.

    Raises:
        InputError: the disk is full, read-only or not ours to write to; nothing is left behind.
    """
    aside = path.with_name(f".{path.name[:200]}.{uuid.uuid4().hex[:8]}.aside")
    try:
        with writing(path):
            make_folder(path.parent)
            if callable(content):
                content(aside)
            else:
                aside.write_bytes(content if isinstance(content, bytes) else content.encode())
            _sync(aside)
            aside.replace(path)
            _sync(path.parent)
    finally:
        with contextlib.suppress(OSError):  # what went wrong before is what matters
            aside.unlink(missing_ok=True)
    return path


def make_folder(folder: Path) -> Path:
    """Make a folder and its parents, each entered on disk before this returns."""
    missing = [p for p in (folder, *folder.parents) if not p.exists()]
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for made in missing:
            _sync(made.parent)
    return folder


def replace_folder(made: Path, target: Path) -> None:
    """Put the finished folder `made` in the place of `target`; both are on one disk.

    On Linux the two names are exchanged in one step, so that a reader finds the old folder or the new one, whole, at
    every moment. Where the file system cannot do that, there is a moment with neither name; the old folder is back if
    the second step fails.

    Raises:
        InputError: `target` is a file, or the disk refuses; `target` is as it was.
    """
    if target.exists() and not target.is_dir():
        raise InputError(f"{target} is a file", "choose another folder")
    with writing(target):
        for file in (made, *made.rglob("*")):
            if not file.is_symlink():
                _sync(file)
        if not target.exists():
            made.rename(target)
        elif _exchange(made, target):
            shutil.rmtree(made, ignore_errors=True)
        else:
            _two_steps(made, target)
        _sync(target.parent)


def _exchange(one: Path, other: Path) -> bool:
    """renameat2(2) with RENAME_EXCHANGE; False where kernel, C library or file system lack it."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        return False
    raise OSError(code, os.strerror(code), str(other))


def _two_steps(made: Path, target: Path) -> None:
    old = target.with_name(f".{target.name[:200]}.{uuid.uuid4().hex[:8]}.old")
    target.rename(old)
    try:
        made.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def sha256(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_folder() -> Path:
    """Where machine-wide results are kept: $HASTEN_CACHE, else ~/.cache/hasten."""
    return Path(os.environ.get("HASTEN_CACHE") or Path.home() / ".cache" / "hasten")


def remembered(path: Path) -> dict[str, Any]:
    """A JSON object in the cache; empty where the file is missing or damaged, since it can be made again."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
