"""The subject of a measurement: one compiled model, alone in a child process, that runs itself and keeps the time.

The other side is hasten.measure.stand. Times are taken here, around `Compiled.run` alone, so neither pipes nor the
checks of the session's door are in them; every feed has passed that door once before it is timed.
"""

import contextlib
import gc
import itertools
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from hasten import find
from hasten.data import Data
from hasten.engine import Session, int8_share
from hasten.errors import ContractError, InputError
from hasten.flow import Flow
from hasten.measure.accuracy import answer, cut
from hasten.model import OnnxFile, Signature, TorchModel
from hasten.stage import Stage
from hasten.task import Task

SAMPLES = 16  # real inputs that calls rotate through
LOOKED, MIXED = 1000, 64  # where the time depends on the sample: by how many it is told how far they go; as SAMPLES
GOLDEN = (5**0.5 - 1) / 2  # multiples of it are spread evenly, however many there are
SHORTEST_S, LONGEST_S = 0.02, 0.2  # of a burst; the calls asked for are kept within
SETTLE_S, DROP_S = 0.04, 0.1  # calls are dropped at least and at most this long: another's threads spin on after it
WARM_S = 2.0  # a model that is not stable after this is taken as it is
STABLE = 0.03  # between the medians of three windows in a row
DROP_CALLS, PLAIN_CALLS, FEWEST, MOST = 5, 40, 3, 1000  # calls before and beside a profile, and its limits
BATCHES = (1, 2, 4, 8, 16, 32, 64)
BATCH_S, THROUGHPUT_S = 0.25, 2.5  # for one batch, and for all of them


class Subject:
    """Made in the child without arguments; `compile` comes first. Every answer is a JSON value."""

    def compile(
        self,
        model: str,
        engine: str,
        settings: Mapping[str, Any],
        signature: Mapping[str, Any] | None,
        feed: str,
        stages: Sequence[Mapping[str, Any]] = (),
        folder: str = "",
    ) -> dict[str, Any]:
        """Compile, then warm up on real inputs until the time of a call is stable.

        Args:
            model: an ONNX file, whose `signature` is given; or a task file, whose original model is meant.
            engine, settings: an engine by name, and its fields.
            feed: folder of .npy; its samples are what the calls are made with.
            stages, folder: what a model with an exit is cut into, as in a bundle, and where the files lie.
        """
        self._engine = find.engine(engine)(**settings)
        whole = Signature.from_json(signature) if signature else None
        source = OnnxFile(Path(model), whole) if whole else _trained(Path(model))
        _forget_peak()
        begin = time.perf_counter()
        if stages and whole:
            parts = [Stage.from_json(stage, Path(folder)) for stage in stages]
            self._session = Session(Flow(parts, [t.name for t in whole.outputs]), whole)
        else:
            self._session = self._engine.compile(source)
        compile_s = time.perf_counter() - begin
        self._data = Data.load(feed)
        self._calls = 1 if self._session.signature.batch else self._session.signature.fixed_batch
        self._ways = self._taken()
        feeds = [cut(self._data, start, self._calls) for start in _mixed(self._ways)]
        for one in feeds:
            self._session(one)
        self._feeds = itertools.cycle(feeds)
        self._warm_up()
        self._peak_mb = _peak_mb()
        return {"compile_s": compile_s, "precision": self._engine.precision}

    def layers(self) -> dict[str, Any]:
        """The executed graph. An engine may have to compile a twin for it: asked for only when it is wanted."""
        layers = self._session.compiled.layers()
        return {"layers": [asdict(layer) for layer in layers], "int8_share": int8_share(layers)}

    def ways(self) -> dict[str, float]:
        """Of stages: the share of samples that need none of those that are left out at times, and the median time in
        ms of those that need most."""
        ways = list(self._ways.values())
        longest = [i for i, way in self._ways.items() if way == max(ways)][:SAMPLES]
        shared, self._feeds = self._feeds, itertools.cycle([cut(self._data, i, self._calls) for i in longest])
        try:
            worst = statistics.median(self.burst(DROP_CALLS, PLAIN_CALLS))
        finally:
            self._feeds = shared
        return {"early_share": ways.count(0) / len(ways), "latency_worst_ms": worst}

    def _taken(self) -> dict[int, int]:
        """Samples at even distances, by the first of a call, and how many of the stages that are left out at times it
        takes; without such stages a few will do."""
        flow = self._session.compiled
        if not isinstance(flow, Flow):
            return dict.fromkeys(_spread(len(self._data), SAMPLES), 0)
        looked = _spread(len(self._data), LOOKED)
        return {i: int(flow.further(cut(self._data, i, self._calls))[0].max()) for i in looked}

    def profile(self, seconds: float) -> dict[str, Any]:
        """What a call spends in each layer, by the engine's own account; and what a call takes without and with it.

        Args:
            seconds: about as long the account is kept.
        """
        plain_ms = statistics.median(self.burst(DROP_CALLS, PLAIN_CALLS))
        calls = max(FEWEST, min(MOST, int(seconds * 1e3 / plain_ms)))
        kept = self._session.compiled.profile(next(self._feeds), calls)
        return {
            "layers": [asdict(layer) | {"ms": ms} for layer, ms in kept.spent] if kept else [],
            "plain_ms": plain_ms,
            "call_ms": kept and kept.call_ms,
        }

    def burst(self, drop: int, keep: int) -> list[float]:
        """Times of calls in ms, one after another without a pause and without garbage collection.

        Args:
            drop: calls before the first that is timed; more until `SETTLE_S` is over, fewer, but at least one, where
                they take longer than `DROP_S`; 0 is none.
            keep: calls to time; more where they take less than `SHORTEST_S`, fewer where they take over `LONGEST_S`.
        """
        run, feeds, clock = self._session.compiled.run, self._feeds, time.perf_counter_ns
        times: list[int] = []
        with _no_garbage_collection():
            began = end = clock()
            for done in itertools.count(1) if drop else ():
                run(next(feeds))
                end = clock()
                if end - began > (SETTLE_S if done >= drop else DROP_S) * 1e9:
                    break
            began = end
            while end - began < (SHORTEST_S if len(times) >= keep else LONGEST_S) * 1e9:
                feed = next(feeds)
                start = clock()
                run(feed)
                end = clock()
                times.append(end - start)
        return [t / 1e6 for t in times]

    def throughput(self) -> tuple[float, int]:
        """Samples a second at the batch where they are most, and that batch, on this very session.

        Batches are tried upwards until the model refuses one, two in a row bring less, or the time is over.
        """
        best, batch, worse = 0.0, self._calls, 0
        over = time.perf_counter() + THROUGHPUT_S
        for size in BATCHES if self._session.signature.batch else (self._calls,):
            try:
                rate = self._rate(size)
            except (InputError, ContractError):
                if size == self._calls:
                    raise
                break  # an axis that is called free, and is not
            best, batch, worse = (rate, size, 0) if rate > best else (best, batch, worse + 1)
            if worse == 2 or time.perf_counter() > over:
                break
        return best, batch

    def answers(self, data: str, out: str) -> list[str]:
        """See hasten.measure.accuracy.answer."""
        return answer(self._session, Data.load(data), Path(out))

    def peak_memory_mb(self) -> float:
        """The most memory that was resident, interpreter and engine included, from compiling to the end of warm-up."""
        return self._peak_mb

    def _warm_up(self) -> None:
        """Call until the medians of three windows in a row agree, or the time is over."""
        over = time.perf_counter() + WARM_S
        windows: list[float] = []
        while time.perf_counter() < over:
            windows.append(statistics.median(self.burst(drop=0, keep=5)))
            last = windows[-3:]
            if len(windows) >= 4 and max(last) <= (1 + STABLE) * min(last):
                return

    def _rate(self, size: int) -> float:
        """Samples a second in calls of `size` samples, from the median call."""
        feed = cut(self._data, 0, size)
        self._session(feed)
        times: list[float] = []
        over = time.perf_counter() + BATCH_S
        with _no_garbage_collection():
            while len(times) < 3 or time.perf_counter() < over:
                start = time.perf_counter()
                self._session.compiled.run(feed)
                times.append(time.perf_counter() - start)
        return size / statistics.median(times)


def _trained(path: Path) -> TorchModel:
    """The original model of a task file; the data that the task loaded for it is let go."""
    task = Task.load(path)
    model = task.original
    task._loaded.clear()
    if not isinstance(model, TorchModel):
        raise InputError(f"the model of {path} is an ONNX file", "give that file itself")
    return model


def _mixed(ways: Mapping[int, int]) -> list[int]:
    """Samples to rotate through, of which as many go each way as of all, in every run of them."""
    if len(set(ways.values())) == 1:
        return [list(ways)[i] for i in _spread(len(ways), SAMPLES)]
    ordered = sorted(ways, key=lambda i: ways[i])
    count = min(MIXED, len(ordered))
    chosen = [ordered[round((i + 0.5) * len(ordered) / count - 0.5)] for i in range(count)]
    return sorted(chosen, key=lambda i: chosen.index(i) * GOLDEN % 1)


def _spread(length: int, count: int) -> list[int]:
    """`count` indices, evenly over the whole length; fewer where there are no more."""
    return sorted({int(i) for i in np.linspace(0, length - 1, min(length, count))})


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _forget_peak() -> None:
    """Let the kernel's record of the most memory start afresh: a task's own data is not the model's."""
    gc.collect()
    with contextlib.suppress(OSError):  # where the kernel does not offer it, the peak is that of the whole process
        Path("/proc/self/clear_refs").write_text("5")


def _peak_mb() -> float:
    """VmHWM of this process, in MB."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6
