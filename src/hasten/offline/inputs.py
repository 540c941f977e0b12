"""What a job reads: every sample has an id; all are listed at once, and each is loaded when its turn comes."""

import csv
import glob
import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hasten import image
from hasten.data import GROUPS, TARGET, Data
from hasten.errors import HastenError, InputError, MissingError, UsageError
from hasten.model import Arrays, Signature
from hasten.offline.videos import SUFFIXES, is_video, require
from hasten.pipeline import Pipeline

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
        words: image files and videos; folders, of which every such file counts; patterns with * or ?; manifests (.csv
            or .parquet with a column `path`, relative to the manifest, and an `id` if it likes); archives (.npz, or
            folders of .npy), of which every row counts.
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
            places.append(place)
    if not places:
        raise InputError(f"{' '.join(words)} holds no sample", "give images, manifests or archives of arrays")
    known: set[str] = set()
    for place in places:
        if place.id in known:
            raise InputError(f"two samples are called {place.id!r}", "give each an id of its own")
        known.add(place.id)
    return places


def digest(places: Sequence[Place]) -> str:
    """SHA-256 over ids and places."""
    state = hashlib.sha256()
    for place in places:
        state.update(repr(tuple(place)).encode())
    return state.hexdigest()


def _of(word: str) -> Iterator[Place]:
    path = Path(word)
    if not path.exists() and any(c in word for c in "*?["):
        found = sorted(glob.glob(word, recursive=True))  # noqa: PTH207 - a pattern may be absolute
        if not found:
            raise InputError(f"nothing is called {word}", "check the pattern")
        for name in found:
            if _is_read(Path(name)):
                yield Place(name, name)
    elif not path.exists():
        raise InputError(f"{word} does not exist", "check the path")
    elif path.is_dir() and any(path.glob("*.npy")):
        yield from _rows(word)
    elif path.is_dir():
        for file in sorted(p for p in path.rglob("*") if _is_read(p) and p.is_file()):
            yield Place(file.as_posix(), str(file))
    elif path.suffix.lower() in MANIFESTS:
        yield from _manifest(path)
    elif path.suffix.lower() == ".npz":
        yield from _rows(word)
    else:
        yield Place(word, word)


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
        with path.open(newline="", encoding="utf-8") as file:
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


class Reader:
    """Loads samples for one bundle; each call may be made in a thread of its own."""

    def __init__(self, signature: Signature, pipeline: Pipeline, prepared: bool) -> None:
        """
        Args:
            prepared: rows of arrays are tensors as the network takes them, not raw samples.
        """
        self._signature, self._pipeline, self._prepared = signature, pipeline, prepared
        self._names = {t.name for t in signature.inputs}

    def check(self, places: Sequence[Place]) -> None:
        """See that samples of these kinds can be read for this bundle.

        Raises:
            UsageError: image files or videos for a bundle that takes something else.
            MissingError: videos, and what reads them is not installed.
        """
        kinds = {place.video for place in places if place.row is None}
        how = [p for p in self._pipeline.inputs.values() if p.kind == "image"]
        for video in sorted(kinds):
            if len(self._names) != 1 or len(how) != 1 or self._prepared or (self._pipeline.window and not video):
                raise UsageError(
                    f"this bundle takes {', '.join(map(str, self._signature.inputs))}, not "
                    f"{'videos' if video else 'single image files'}",
                    "give archives of arrays (.npz, or folders of .npy)",
                )
            if video:
                require()

    def load(self, places: Sequence[Place]) -> tuple[list[int], dict[str, np.ndarray], dict[int, str]]:
        """Prepared tensors of those that can be read.

        Returns:
            Positions of the readable ones in `places`; their tensors by name, [n, ...]; position -> why not.
        """
        good: list[int] = []
        parts: list[Arrays] = []
        bad: dict[int, str] = {}
        for start, stop in _runs(places):
            for first, last in ((start, stop), *((i, i + 1) for i in range(start, stop) if stop - start > 1)):
                try:
                    parts.append(self._together(places[first:last]))
                    good.extend(range(first, last))
                except MissingError:
                    raise
                except HastenError as fault:
                    if last - first == 1:
                        bad[first] = str(fault)
                    continue  # one by one
                if last == stop:
                    break
        return good, {name: np.concatenate([p[name] for p in parts]) for name in (self._names if parts else ())}, bad

    def _together(self, places: Sequence[Place]) -> Arrays:
        """One image file, or rows of one archive that follow each other."""
        first, row = places[0], places[0].row
        if row is None:
            ((name, how),) = self._pipeline.inputs.items()
            raw: Arrays = {name: image.read(first.path, how.source)[None]}  # type: ignore[arg-type]
        else:
            arrays = _opened(first.path).inputs
            if set(arrays) != self._names:
                raise InputError(f"{first.path} holds {sorted(arrays)}", f"the bundle takes {sorted(self._names)}")
            raw = {name: np.ascontiguousarray(array[row : row + len(places)]) for name, array in arrays.items()}
            if any(a.dtype.kind == "f" and not np.isfinite(a).all() for a in raw.values()):
                raise InputError("a value is not finite", "remove or repair the sample")
        tensors = raw if self._prepared else self._pipeline.prepared(raw)
        for tensor in self._signature.inputs:
            array, wanted = tensors[tensor.name], tensor.shape[1:]
            fits = array.ndim == len(tensor.shape) and all(
                isinstance(n, str) or n == m for n, m in zip(wanted, array.shape[1:], strict=True)
            )
            if not fits or array.dtype.name != tensor.dtype:
                raise InputError(f"it is {array.dtype.name} {list(array.shape[1:])}", f"{tensor} is expected")
        return tensors


def _runs(places: Sequence[Place]) -> Iterator[tuple[int, int]]:
    """From and to of rows that follow each other in one archive; an image file stands alone."""
    start = 0
    for i in range(1, len(places) + 1):
        before, here = places[i - 1], places[i] if i < len(places) else None
        follows = here is not None and before.row is not None and (here.path, here.row) == (before.path, before.row + 1)
        if not follows:
            yield start, i
            start = i


@lru_cache(maxsize=16)
def _opened(path: str) -> Data:
    data = Data.load(path)
    return Data({name: a for name, a in data.arrays().items() if name not in (TARGET, GROUPS)})
