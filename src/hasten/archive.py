"""Archives of arrays (.npz): unpacked once into a cache, without ever holding an array in memory, and never trusted.

Whatever an archive claims is checked before a byte is written: what it would unpack to must fit the disk, and may not
be hundreds of times its own size (deflate ends at 1032:1, which only a file of nothing reaches). Names become file
names by quoting, so that none can leave its folder. Processes that unpack the same archive at once do not disturb each
other: the first to finish gives the folder its name, all others throw theirs away.
"""

import shutil
import uuid
import zipfile
import zlib
from functools import partial
from pathlib import Path
from urllib.parse import quote, unquote

from hasten import files
from hasten.errors import InputError

RESERVE = 1_000_000_000  # bytes that stay free on the disk
BOMB_RATIO, BOMB_BYTES = 200, 1_000_000_000  # more than so many times its size, and more than this in all
_NPY = b"\x93NUMPY"
_SAVE = "save it with np.savez(path, <input name>=..., target=...)"


def file_name(array: str) -> str:
    """The .npy file that holds an array: names of inputs may have a / or other characters unfit for file names."""
    return f"{quote(array, safe=' :+,=@()[]')}.npy"


def array_name(file: Path) -> str:
    """The name of the array that a .npy file holds: `file_name` undone."""
    return unquote(file.stem)


def unpacked(path: Path, cache: Path) -> Path:
    """The folder of .npy files that holds what the archive holds.

    Args:
        path: the .npz file.
        cache: holds a folder for each archive, named by its SHA-256.

    Raises:
        InputError: not an archive of arrays, damaged, a bomb, or too large for the disk.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            folder = cache / files.sha256(path)[:32]
            if not folder.is_dir():
                _admit(archive, path, files.make_folder(cache))
                _unpack(archive, folder)
            return folder
    except InputError as fault:
        raise InputError(f"{path}: {fault.what}", fault.mend) from fault
    except zipfile.BadZipFile as fault:
        with path.open("rb") as file:
            single = file.read(6) == _NPY
        raise InputError(
            f"{path} is {'a single array' if single else 'damaged, or not an .npz archive'}", _SAVE
        ) from fault
    except (
        zlib.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
    ) as fault:  # damage, unknown compression, a password
        raise InputError(f"{path} cannot be unpacked ({fault})", _SAVE) from fault
    except OSError as fault:
        raise InputError(f"{path} cannot be read ({fault.strerror})", "see that you may read it") from fault


def _admit(archive: zipfile.ZipFile, path: Path, cache: Path) -> None:
    entries = archive.infolist()
    names = [e.filename for e in entries]
    if wrong := next((n for n in names if not n.endswith(".npy")), None):
        raise InputError(f"holds {wrong!r}, which is not an array", _SAVE)
    if len(set(names)) < len(names):
        raise InputError("holds two arrays of one name", _SAVE)
    size, packed = sum(e.file_size for e in entries), max(1, path.stat().st_size)
    if size > BOMB_BYTES and size > BOMB_RATIO * packed:
        raise InputError(
            f"unpacks to {size / packed:.0f} times its size", "save it with np.savez, uncompressed, if that is meant"
        )
    free = shutil.disk_usage(cache).free - RESERVE
    if size > free:
        raise InputError(
            f"unpacks to {size / 1e9:.1f} GB",
            f"{max(0, free) / 1e9:.1f} GB are free in {cache}: set HASTEN_CACHE to another disk",
        )


def _unpack(archive: zipfile.ZipFile, folder: Path) -> None:
    aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.aside")
    try:
        for entry in archive.infolist():
            files.write(aside / file_name(entry.filename.removesuffix(".npy")), partial(_copy, archive, entry))
        files.make_folder(aside)
        try:
            aside.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _copy(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, to: Path) -> None:
    """One array; zipfile stops at the size that the entry claims and checks its CRC."""
    with archive.open(entry) as source, to.open("wb") as sink:
        if source.read(6) != _NPY:
            raise InputError(f"holds {entry.filename!r}, which is not an array", _SAVE)
        sink.write(_NPY)
        shutil.copyfileobj(source, sink, 1 << 20)
