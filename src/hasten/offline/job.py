"""A job: every sample answered exactly once, in shards that are whole or absent, whatever happens meanwhile."""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hasten import files, manifest
from hasten.bundle import Bundle
from hasten.errors import HastenError, InputError, Unmet, UsageError, unknown
from hasten.measure.machine import threads
from hasten.offline import local, output, shards
from hasten.offline.hand import SMALLEST
from hasten.offline.inputs import Place, digest, listed
from hasten.offline.journal import NAME, Journal
from hasten.offline.reader import Reader
from hasten.offline.sweep import best_way
from hasten.offline.views.fold import Views
from hasten.search.progress import Progress, Silent

SHARD_S, LARGEST = 5.0, 8192  # a part is about so many seconds of work: what a kill can cost
PARTS = 8  # of a worker, at least, where the samples suffice
FEW = 512  # samples that are not worth a sweep
SWEPT = 128  # samples that a sweep looks at
LINES = 50  # of progress, about


@dataclass(frozen=True)
class Options:
    """What is written, and when a job gives up.

    Attributes:
        form: of the parts.
        tensors: outputs beside the decisions.
        prepared: rows of arrays are tensors as the network takes them.
        tta: views of each sample beside the sample as it is; see hasten.offline.views.view.parse.
        merge: how their answers become one; see hasten.offline.views.merge.Merge.
        limit: no more samples than this, of those listed.
        errors_max: with more samples that cannot be answered the job stops; None: however many.
    """

    form: output.Form = "jsonl"
    tensors: bool = False
    prepared: bool = False
    tta: str = ""
    merge: str = "mean"
    limit: int | None = None
    errors_max: int | None = None


def run(
    bundle: str | Path,
    inputs: Sequence[str],
    out: str | Path,
    options: Options | None = None,
    *,
    on: str = "local",
    resume: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Answer every sample of `inputs`, and prove at the end that each has one row or one reason.

    `out` holds part-NNNNNN, in the order of the inputs; errors.jsonl, id and reason of those without an answer, also
    where the job stops; job.json, what is returned. A job that was killed at any moment goes on with `resume`.

    Args:
        inputs: see hasten.offline.inputs.listed.
        on: local, ray (a cluster of its own on this machine), or ray=ADDRESS of one whose machines share the folders.
        dry_run: list and check, and write nothing.

    Returns:
        samples, rows, errors, parts, bundle (its seal), views of each sample, options, plan (workers, threads, batch,
        shard), seconds of this process, samples a second while they were answered.

    Raises:
        InputError: inputs that cannot be listed, another job in `out`, or a disk that refuses.
        UsageError: inputs or views that this bundle does not take.
        Unmet: more errors than `errors_max`; the job can be resumed with another number.
    """
    options, progress = options or Options(), progress or Silent()
    bundle, out, began = Path(bundle), Path(out), time.monotonic()
    output.require(options.form)
    crew = _crew(on)
    progress.stage("listing the samples")
    places = listed(inputs, options.limit)
    seal, views = _checked(bundle, places, options)
    asked = {k: v for k, v in asdict(options).items() if k != "errors_max"}
    identity = {"bundle": seal, "inputs": digest(places), "options": asked}
    told = {"samples": len(places), "bundle": seal, "views": views, "options": asked}
    if dry_run:
        return {**told, "first": [p.id for p in places[:5]]}
    _free(out, resume)
    opened = {"bundle": str(bundle)} | {k: asked[k] for k in ("form", "prepared", "tensors", "tta", "merge")}
    with Journal(out) as journal:
        plan = _plan(journal, identity, opened, places, progress)
        cut = dict(enumerate(shards.cut(places, plan["shard"])))
        left = _left(journal, out, cut, options.form)
        samples = sum(map(len, left.values()))
        paths = {i: output.part(out, i, options.form) for i in left}
        answers = crew(left, paths, opened | {"threads": plan["threads"]}, plan)
        begun = time.monotonic()
        _work(journal, out, answers, left, options.errors_max, _Told(progress, len(places) - samples, len(places)))
        per_s = samples / (time.monotonic() - begun)
        progress.stage("proving that every sample is there once")
        result = told | {"rows": shards.proven(journal, out, cut, options.form), "parts": len(cut), "plan": plan}
        return _finished(journal, out, result | {"seconds": time.monotonic() - began, "per_s": per_s})


def _checked(bundle: Path, places: Sequence[Place], options: Options) -> tuple[str, list[str]]:
    """The seal of a bundle that replays its golden cases and takes these samples, and the views of each."""
    with Bundle.load(bundle) as whole:
        Reader(whole.signature, whole.pipeline, options.prepared).check(places)
        output.columns(whole.signature, whole.pipeline, options.tensors)
        if options.tta and whole.pipeline.window and any(place.video for place in places):
            raise UsageError("windows of videos are looked at once", "leave --tta away, or give clips (.npz)")
        views = Views.of(options.tta, whole.signature, whole.pipeline, options.merge)
    return str(manifest.read(bundle)["seal"]), views.names


def _plan(
    journal: Journal, identity: Mapping[str, Any], opened: dict[str, Any], places: Sequence[Place], progress: Progress
) -> dict[str, Any]:
    """That of the job that is here; a new one is measured, where it is worth it."""
    if begun := journal.begun():
        before, plan, _ = begun
        if changed := sorted(k for k in identity if before.get(k) != identity[k]):
            raise InputError(
                f"the job in {journal.path.parent} had another {', '.join(changed)}",
                "give the same again, or choose another folder",
            )
        return plan
    plan = {"workers": 1, "threads": 0, "batch": 32, "shard": SMALLEST}
    single = [place for place in places if not place.video]
    if len(single) > FEW:
        progress.stage("measuring batches and workers")
        few = np.linspace(0, len(single) - 1, SWEPT).round().astype(int)
        seal = " ".join([identity["bundle"], *filter(None, [opened["tta"]])])
        plan = best_way(seal, opened, [tuple(single[i]) for i in few])
        plan["shard"] = _shard(plan, len(single))
    elif (videos := len(places) - len(single)) > 1:  # one is decoded by one thread
        plan |= {"workers": min(videos, threads()), "threads": 1}
    journal.begin(identity, plan)
    return plan


def _shard(plan: Mapping[str, Any], samples: int) -> int:
    """Samples of a part, in whole batches: so few that at the end of the job no worker waits long for another."""
    batch, even = int(plan["batch"]), samples / (PARTS * int(plan["workers"]))
    return max(SMALLEST, min(LARGEST, batch * math.ceil(min(SHARD_S * float(plan["per_s"]), even) / batch)))


def _free(out: Path, resume: bool) -> None:
    """See that the folder is this job's to write to; what a kill left half written goes."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file", "choose a folder")
    if (out / NAME).exists():
        if not resume:
            raise InputError(f"{out} holds a job", "add --resume to go on with it, or choose another folder")
        for stale in out.glob(".*.aside"):
            stale.unlink(missing_ok=True)
    elif out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty and holds no job", "choose another folder")


def _crew(on: str) -> Callable[..., Iterator[tuple[int, dict[str, Any]]]]:
    """What answers the shards.

    Raises:
        UsageError: neither local nor ray.
    """
    name, equals, address = on.partition("=")
    if name == "ray":
        from hasten.offline import ray

        return partial(ray.answers, address=address)
    if name != "local" or equals:
        raise unknown("place to run a job on", on, ("local", "ray", "ray=ADDRESS"))
    return local.answers


def _left(
    journal: Journal, out: Path, shards: Mapping[int, Sequence[Place]], form: output.Form
) -> dict[int, Sequence[Place]]:
    """Those that are not on disk as the journal has them."""
    entered = journal.shards()
    paths = {i: output.part(out, i, form) for i in entered}
    whole = {i for i, path in paths.items() if path.is_file() and files.sha256(path) == entered[i][1]}
    return {i: shard for i, shard in shards.items() if i not in whole}


def _work(
    journal: Journal,
    out: Path,
    crew: Iterator[tuple[int, dict[str, Any]]],
    shards: Mapping[int, Sequence[Place]],
    most: int | None,
    told: "_Told",
) -> None:
    """Every shard, entered in the journal when it is whole; where the job stops, the errors so far are on disk."""
    try:
        with closing(crew):  # type: ignore[type-var]  # both are generators
            for index, answer in crew:
                journal.end(index, answer["rows"], answer["sha256"], answer["errors"])
                told.more(len(shards[index]))
                if most is not None and (count := journal.error_count()) > most:
                    raise Unmet(
                        f"{count} samples cannot be answered, more than {most}",
                        "see errors.jsonl; add --resume and a higher --errors-max",
                    )
    except BaseException:
        with suppress(HastenError):  # what stopped the job is what matters
            _tell_errors(journal, out)
        raise


class _Told:
    """How far the job is, said about `LINES` times."""

    def __init__(self, progress: Progress, done: int, total: int) -> None:
        self._progress, self._done, self._total = progress, done, total
        self._before, self._began, self._said = done, time.monotonic(), done

    def more(self, samples: int) -> None:
        self._done += samples
        if self._done - self._said >= self._total / LINES or self._done == self._total:
            per_s = (self._done - self._before) / (time.monotonic() - self._began)
            left_s = (self._total - self._done) / per_s
            self._progress.trial(self._done, self._total, f"{per_s:.0f} samples a second", left_s)
            self._said = self._done


def _finished(journal: Journal, out: Path, result: dict[str, Any]) -> dict[str, Any]:
    """The errors and the result on disk; the job has ended."""
    result["errors"] = _tell_errors(journal, out)
    files.write(out / "job.json", json.dumps(result, indent=1) + "\n")
    journal.finish()
    return result


def _tell_errors(journal: Journal, out: Path) -> int:
    """errors.jsonl; how many there are so far."""
    errors = journal.errors()
    lines = (json.dumps({"id": name, "reason": reason}, ensure_ascii=False) + "\n" for name, reason in errors)
    files.write(out / "errors.jsonl", "".join(lines))
    return len(errors)
