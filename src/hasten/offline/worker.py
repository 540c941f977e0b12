"""A worker: a process that holds one bundle and answers shards. Reading runs ahead of the engine in threads."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np

from hasten import files
from hasten.answer import activated
from hasten.bundle import Bundle
from hasten.errors import ContractError, HastenError, InputError
from hasten.manifest import read
from hasten.measure.machine import threads as cores
from hasten.model import Arrays
from hasten.offline import output, videos
from hasten.offline.inputs import Place, encodable
from hasten.offline.reader import Alike, Reader
from hasten.offline.views.fold import Views, box_shares

AHEAD = 2  # batches that are read before their turn, beside one for each core
SAME = 1e-3  # of the largest answer: a batch that differs more takes something from the whole of it (dynamic INT8)

Loaded = tuple[list[Alike], dict[int, str]]


class Worker:
    """Made in a child, or in an actor of Ray; `open` comes first. Arguments and answers are JSON values."""

    def open(
        self, bundle: str, threads: int, form: output.Form, prepared: bool, tensors: bool, tta: str = "",
        merge: str = "mean",
    ) -> int:  # fmt: skip
        """
        Args:
            threads: of the engine; 0 leaves those of the bundle.
            form, tensors: what is written; see hasten.offline.output.
            prepared: see Reader.
            tta, merge: see hasten.offline.views.fold.

        Returns:
            In how many views it looks at each sample.
        """
        whole = Bundle.load(bundle, verify=False)
        if threads:
            stages = tuple(replace(s, engine=replace(s.engine, threads=threads)) for s in whole.stages)
            whole = replace(whole, stages=stages)
        self._bundle, self._form = whole, form
        self._seal = read(Path(bundle))["seal"]
        self._reader = Reader(whole.signature, whole.pipeline, prepared)
        self._views = Views.of(tta, whole.signature, whole.pipeline, merge, tta != "" and box_shares(whole))
        self._columns = output.columns(whole.signature, whole.pipeline, tensors)
        whole_ones = tensors or whole.pipeline.answer.kind == "tensor"  # else an output may be called like a column
        self._told_whole = [t.name for t in whole.signature.outputs] if whole_ones else []
        self._threads = cores()
        self._pool = ThreadPoolExecutor(self._threads)
        return len(self._views.views)

    def shard(self, places: Sequence[Sequence[Any]], batch: int, path: str, skip: Mapping[str, str]) -> dict[str, Any]:
        """Answer these samples, in batches of consecutive ones, and write the part.

        Args:
            places: id, path, row of each.
            batch: samples times views that the engine has at a time, at most.
            path: of the part, which appears whole.
            skip: position -> why it is not even tried.

        Returns:
            rows; sha256 of the part; errors: position, id and reason of each sample without an answer.
        """
        samples = [Place(*p) for p in places]
        bad = {int(position): reason for position, reason in skip.items()}
        rows: list[dict[str, Any]] = []
        if samples[0].video:  # alone
            faults = [(samples[0].id, bad[0])] if bad else []
            rows = [] if bad else list(self._film(samples[0], batch, faults))
            return self._written(Path(path), rows, [(0, *fault) for fault in faults])
        for good, unread in self._read(samples, batch, set(bad)):
            bad |= unread
            for positions, outputs in self._all_answered(good, batch, bad):
                rows += self._rows([samples[p] for p in positions], positions, outputs, bad)
        self._reader.let_go(samples)
        return self._written(Path(path), rows, [(p, samples[p].id, bad[p]) for p in sorted(bad)])

    def _written(
        self, path: Path, rows: list[dict[str, Any]], errors: Sequence[tuple[int, str, str]]
    ) -> dict[str, Any]:  # fmt: skip
        output.write(path, rows, self._form, self._columns, self._bundle.signature)
        told = [(position, name, encodable(reason)) for position, name, reason in errors]  # reasons name files
        return {"rows": len(rows), "sha256": files.sha256(path), "errors": told}

    def attempt(self, places: Sequence[Sequence[Any]], batch: int) -> None:
        """Answer them and keep nothing: does one of them bring the process down?"""
        samples = [Place(*p) for p in places]
        if samples[0].video:
            for _ in self._film(samples[0], batch, []):
                pass
            return
        for good, _ in self._read(samples, batch, set()):
            for _ in self._all_answered(good, batch, {}):
                pass

    def rate(self, places: Sequence[Sequence[Any]], batch: int, seconds: float) -> tuple[float, float]:
        """How fast batches of that size are.

        Args:
            seconds: for which they are timed; three of them, unless they take ten times as long.

        Returns:
            Samples a second, with all views, and the seconds of a batch; 0 where one does not answer as its samples do.
        """
        good, _ = self._reader.load([Place(*p) for p in places])
        if not good:
            return 0.0, 0.0
        _, tensors = max(good, key=lambda alike: len(alike[0]))  # of one shape
        if (found := self._sound(tensors)) is None:
            return 0.0, 0.0
        first, alone = found
        count = self._samples(batch)
        feed = {name: np.resize(a[first:], (count, *a.shape[1:])) for name, a in tensors.items()}
        try:
            if batch > 1 and not _alike(self._outputs(feed, batch), alone):
                return 0.0, 0.0
        except (InputError, ContractError):
            return 0.0, 0.0
        calls, took, began = 0, 0.0, time.perf_counter()
        while not calls or took < (seconds if calls >= 3 else 10 * seconds):
            self._outputs(feed, batch)
            calls, took = calls + 1, time.perf_counter() - began
        return calls * count / took, took / calls

    def _sound(self, tensors: Arrays) -> tuple[int, dict[str, np.ndarray]] | None:
        """The first sample that the engine takes and whose answer is of numbers, and that answer."""
        for i in range(len(next(iter(tensors.values())))):
            with suppress(InputError, ContractError):
                alone = self._outputs({n: a[i : i + 1] for n, a in tensors.items()}, 1)
                if all(np.isfinite(a).all() for a in alone.values()):
                    return i, alone
        return None

    def _read(self, samples: Sequence[Place], batch: int, out: set[int]) -> Iterator[Loaded]:
        """Batch after batch, read ahead: what Reader.load makes of it, less what is `out`."""
        waiting: deque[Future[Loaded]] = deque()
        size = self._samples(batch)
        starts = iter(range(0, len(samples), size))

        def load(start: int) -> Loaded:
            wanted = [i for i in range(start, min(start + size, len(samples))) if i not in out]
            good, bad = self._reader.load([samples[i] for i in wanted])
            return [([wanted[g] for g in which], t) for which, t in good], {wanted[b]: why for b, why in bad.items()}

        while True:
            while len(waiting) < self._threads + AHEAD and (start := next(starts, None)) is not None:
                waiting.append(self._pool.submit(load, start))
            if not waiting:
                return
            yield waiting.popleft().result()

    def _all_answered(
        self, good: Sequence[Alike], batch: int, bad: dict[int, str]
    ) -> Iterator[tuple[list[int], dict[str, np.ndarray]]]:
        for positions, tensors in good:
            yield from self._answered(positions, tensors, batch, bad)

    def _answered(
        self, positions: list[int], tensors: Arrays, batch: int, bad: dict[int, str]
    ) -> Iterator[tuple[list[int], dict[str, np.ndarray]]]:
        """Outputs of a batch; where the engine refuses it, of its halves, down to the sample that it refuses."""
        if not positions:
            return
        try:
            outputs = self._outputs(tensors, batch)
        except HastenError as fault:
            if len(positions) == 1:
                bad[positions[0]] = str(fault)
                return
            half = len(positions) // 2
            for part in (slice(0, half), slice(half, None)):
                yield from self._answered(positions[part], {n: a[part] for n, a in tensors.items()}, batch, bad)
        else:
            yield positions, outputs

    def _film(self, video: Place, batch: int, faults: list[tuple[str, str]]) -> Iterator[dict[str, Any]]:
        """A row for every window of a video, or every frame; `faults` takes ids and reasons of what has none."""

        def tell(why: str) -> None:
            faults.append((video.id, why))

        for times, outputs, bad in self._looked(video, batch, tell):
            places = [video.at(t) for t in times]
            answered = sorted(set(range(len(places))) - set(bad))
            yield from self._rows([places[i] for i in answered], answered, outputs, bad) if answered else ()
            faults.extend((places[i].id, bad[i]) for i in sorted(bad))

    def _looked(
        self, video: Place, batch: int, tell: Callable[[str], None]
    ) -> Iterator[tuple[list[int], dict[str, np.ndarray], dict[int, str]]]:
        """Times of some samples of a video, their outputs, and by place the reason of those that have none."""
        if self._bundle.pipeline.window:
            for end, found in videos.windows(self._bundle, video.path, tell):
                yield [end], dict(found), {}
            return
        ((name, _),) = self._bundle.pipeline.inputs.items()
        for times, tensors in _alike_in_shape(videos.pictures(self._bundle, video.path, tell), self._samples(batch)):
            bad: dict[int, str] = {}
            parts = [o for _, o in self._answered(list(range(len(times))), {name: np.stack(tensors)}, batch, bad)]
            yield times, {n: np.concatenate([p[n] for p in parts]) for n in parts[0]} if parts else {}, bad

    def _samples(self, batch: int) -> int:
        """Whose views go to the engine together; one that has more views than a batch takes several calls."""
        return max(1, batch // len(self._views.views))

    def _outputs(self, tensors: Arrays, batch: int) -> dict[str, np.ndarray]:
        return self._views.answers(self._bundle.infer, tensors, batch)

    def _rows(
        self, places: Sequence[Place], positions: Sequence[int], outputs: Arrays, bad: dict[int, str]
    ) -> Iterator[dict[str, Any]]:
        """A row for each sample whose outputs are numbers."""
        decisions = self._bundle.pipeline.decide(outputs)
        first, *others = outputs.values()
        scores = activated(first.astype(np.float64), self._bundle.pipeline.answer.activation)
        plain = {name: outputs[name].tolist() for name in self._told_whole}
        finite = np.all([np.isfinite(a.reshape(len(a), -1)).all(axis=1) for a in outputs.values()], axis=0)
        for i, (place, decision) in enumerate(zip(places, decisions, strict=True)):
            if not finite[i]:
                bad[positions[i]] = "the network's answer is not finite; see what is unusual about the sample"
                continue
            told = self._told(decision, scores[i], others[0][i] if others else None)
            row = {"id": place.id, "bundle": self._seal, **told, **{name: rows[i] for name, rows in plain.items()}}
            yield {name: row[name] for name in ("id", "bundle", *self._columns)}

    def _told(self, decision: Any, scores: np.ndarray, second: np.ndarray | None) -> dict[str, Any]:
        """One decision in words and figures."""
        answer = self._bundle.pipeline.answer
        if answer.kind == "tensor":
            return {}
        if answer.kind != "boxes" or second is None:
            return {"answer": decision, "score": _of(decision, scores), "label": _named(decision, answer.labels)}
        return {
            "answer": decision,
            "score": [float(scores[box, label]) for box, label in decision],
            "label": _named([label for _, label in decision], answer.labels),
            "box": [second[box].tolist() for box, _ in decision],
        }


def _alike_in_shape(pairs: Iterator[tuple[int, np.ndarray]], size: int) -> Iterator[tuple[list[int], list[np.ndarray]]]:
    """Consecutive ones of one shape, `size` at most."""
    for _, group in groupby(pairs, lambda pair: pair[1].shape):
        while part := list(islice(group, size)):
            yield [time for time, _ in part], [tensor for _, tensor in part]


def _of(decision: Sequence[Any], scores: np.ndarray) -> list[Any]:
    """The scores [..., classes] of the classes told, in lists of the same form."""
    if scores.ndim > 1:
        return [_of(part, row) for part, row in zip(decision, scores, strict=True)]
    return [float(scores[c]) for c in decision]


def _named(decision: Any, labels: Sequence[str]) -> Any:
    if not labels:
        return None
    return [_named(d, labels) for d in decision] if isinstance(decision, list) else labels[decision]


def _alike(together: Arrays, single: Arrays) -> bool:
    """Whether the first sample of a batch has the answer that it has alone."""
    return all(
        np.allclose(together[name][:1], a, rtol=0, atol=SAME * max(1e-9, float(np.abs(a).max(initial=0))))
        for name, a in single.items()
    )
