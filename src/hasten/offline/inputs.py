"""What a job reads: every sample has an id, and all are listed at once."""

import csv
import glob
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hasten.data import Data
from hasten.errors import InputError, MissingError
from hasten.offline.videos import SUFFIXES, is_video

IMAGES, MANIFESTS = (".jpg", ".jpeg", ".png"), (".csv", ".parquet")


class Place(NamedTuple):
    """Where a sample lies: an image file, or a row of an archive of arrays. Or a video, which has many."""

    id: str
    path: str
    row: int | None = None

    @property
    def video(self) -> bool:
        return self.row is None and is_video(self.path)

    def at(self, time: int) -> "Place":
        """A sample of this video: a window by its end, or a frame; ns."""
        return self._replace(id=f"{self.id}#{time}")

    def time(self, name: str) -> int | None:
        """The reverse: of a sample's id; None where it is none of this video."""
        head, _, tail = name.rpartition("#")
        return int(tail) if head == self.id and tail.removeprefix("-").isdecimal() else None


def listed(words: Sequence[str], limit: int | None = None) -> list[Place]:
    """Every sample that these inputs name, in an order that depends on them alone.

    Args:
        words: image files and videos; folders, of which every such file counts, through links too; manifests (.csv or
            .parquet with a column `path`, relative to the manifest, and an `id` if it likes); archives (.npz, or
            folders of .npy), of which every row counts; patterns with * or ?, of which every match of these counts.
        limit: no more than so many.

    Raises:
        InputError: an input that is not there or cannot be read, an id that stands twice, no sample.
        MissingError: a .parquet, and no pyarrow.
    """
    places: list[Place] = []
    for word in words:
        for place in _of(word):
            if limit is not None and len(places) == limit:
                break
            places.append(place._replace(id=encodable(place.id)))
    if not places:
        raise InputError(f"{' '.join(words)} holds no sample", "give images, manifests or archives of arrays")
    known: set[str] = set()
    for place in places:
        if place.id in known:
            raise InputError(f"two samples are called {place.id!r}", "give each an id of its own")
        known.add(place.id)
    return places


def encodable(text: str) -> str:
    """Where it names a file whose name is not UTF-8, the odd bytes as \\xNN: surrogates cannot be written."""
    return os.fsencode(text).decode(errors="backslashreplace")


def digest(places: Sequence[Place]) -> str:
    """SHA-256 over ids and places."""
    state = hashlib.sha256()
    for place in places:
        state.update(repr(tuple(place)).encode())
    return state.hexdigest()


def _of(word: str) -> Iterator[Place]:
    if Path(word).exists():
        yield from _there(word)
    elif any(c in word for c in "*?["):
        for name in _matches(word):
            yield from _there(name)
    else:
        raise InputError(f"{word} does not exist", "check the path")


def _there(word: str) -> Iterator[Place]:
    path = Path(word)
    if _is_archive(path):
        yield from _rows(word)
    elif path.is_dir():
        for file in sorted(_below(path)):
            yield Place(file.as_posix(), str(file))
    elif path.suffix.lower() in MANIFESTS:
        yield from _manifest(path)
    else:
        yield Place(word, word)


def _matches(pattern: str) -> list[str]:
    """Files of use, and folders; of ** only folders that are archives, since files of others match it themselves."""
    found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - a pattern may be absolute
    deep = "**" in pattern

    def useful(path: Path) -> bool:
        single = _is_read(path) or path.suffix.lower() in MANIFESTS
        return single or _is_archive(path) or (not deep and path.is_dir())

    found = [name for name in found if useful(Path(name))]
    if not found:
        kinds = ", ".join((*IMAGES, *SUFFIXES, *MANIFESTS, ".npz"))
        raise InputError(f"nothing that can be read is called {pattern}", f"check the pattern; what is read is {kinds}")
    return found


def _below(folder: Path, above: tuple[tuple[int, int], ...] = ()) -> Iterator[Path]:
    """Every image file and video, also in folders that are linked.

    Args:
        above: device and inode of the folders on the way: a link to one of them leads round and round.

    Raises:
        InputError: a folder cannot be read.
    """
    try:
        state = folder.stat()
        entries = [(folder / e.name, Path(e.path) if e.is_symlink() else e) for e in os.scandir(folder)]
        folders = [path for path, entry in entries if entry.is_dir()]
        files = [path for path, entry in entries if _is_read(path) and entry.is_file()]
    except OSError as fault:
        raise InputError(f"{folder} cannot be read ({fault.strerror})", "see to its permission") from fault
    if (here := (state.st_dev, state.st_ino)) not in above:
        yield from files
        for each in folders:
            yield from _below(each, (*above, here))


def _is_archive(path: Path) -> bool:
    return any(path.glob("*.npy")) if path.is_dir() else path.suffix.lower() == ".npz"


def _is_read(path: Path) -> bool:
    return path.suffix.lower() in (*IMAGES, *SUFFIXES)


def _rows(word: str) -> Iterator[Place]:
    for row in range(len(Data.load(word))):
        yield Place(f"{word}#{row}", word, row)


def _manifest(path: Path) -> Iterator[Place]:
    table = _csv(path) if path.suffix.lower() == ".csv" else _parquet(path)
    if "path" not in table:
        raise InputError(f"{path} has no column called path", f"its columns are {', '.join(table) or 'none'}")
    ids = table.get("id") or table["path"]
    for name, file in zip(ids, table["path"], strict=True):
        yield Place(str(name), str(path.parent / str(file)))


def _csv(path: Path) -> dict[str, list[str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as fault:
        raise InputError(
            f"{path} cannot be read ({fault})", "give a CSV file in UTF-8 with names in its first line"
        ) from fault
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise InputError(f"{path}, row {number}, has not as many cells as the first line", "mend that row")
    return {name: [row[name] for row in rows] for name in reader.fieldnames or ()}


def _parquet(path: Path) -> dict[str, list[str]]:
    try:
        from pyarrow import parquet
    except ImportError as fault:
        raise MissingError(
            f"{path} is read by pyarrow, which is not installed", "pip install 'hasten[parquet]'"
        ) from fault
    try:
        wanted = [name for name in parquet.read_schema(path).names if name in ("id", "path")]
        return dict(parquet.read_table(path, columns=wanted).to_pydict())
    except Exception as fault:  # pyarrow has several for a damaged file
        raise InputError(f"{path} cannot be read ({str(fault)[:200]})", "write the manifest again") from fault
