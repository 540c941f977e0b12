"""The parts of a job: which samples go together, and the proof that each of them is there once."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from hasten.errors import InputError
from hasten.offline import output
from hasten.offline.inputs import Place
from hasten.offline.journal import Journal


def cut(places: Sequence[Place], size: int) -> Iterator[Sequence[Place]]:
    """Consecutive samples, `size` at most; a video, which has nobody knows how many, alone."""
    start = 0
    for i in range(1, len(places) + 1):
        if i == len(places) or i - start == size or places[i].video or places[start].video:
            yield places[start:i]
            start = i


def proven(journal: Journal, out: Path, shards: Mapping[int, Sequence[Place]], form: output.Form) -> int:
    """Rows in all, once every sample is seen to have one row, or one reason why not; of a video, as many rows as the
    journal has, each of a later time.

    Raises:
        InputError: a part was changed, or is not what the journal says.
    """
    reasons, entered = {name for name, _ in journal.errors()}, journal.shards()
    count = 0
    for index, places in shards.items():
        path = output.part(out, index, form)
        ids = list(output.ids(path, form))
        if places[0].video:
            whole = len(ids) == entered[index][0] and _rising(ids, places[0])
        else:
            whole = ids == [p.id for p in places if p.id not in reasons]
        if not whole:
            raise InputError(f"{path} does not hold the answers of its samples", "remove that file and add --resume")
        count += len(ids)
    if stray := {p.name for p in out.glob(f"part-*.{form}")} - {output.part(out, i, form).name for i in shards}:
        raise InputError(f"{out} holds {min(stray)}, which is no part of this job", "remove it and add --resume")
    return count


def _rising(ids: Sequence[str], video: Place) -> bool:
    """Whether these are of one video, time after time."""
    ends = [video.time(name) for name in ids]
    times = [end for end in ends if end is not None]
    return len(times) == len(ends) and all(a < b for a, b in pairwise(times))
