"""A bundle under load: one prepared sample in, the answer out. Made in a child process, of its own for each run.

Raw samples are prepared before a run, as MLPerf has it, so what is timed is every stage of the bundle and the decision.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hasten.bundle import Bundle
from hasten.errors import InputError

WARM_CALLS = 3  # of each size before anything is timed, at least
PROBE_CALLS = 10  # at least
SIZES = (2, 4, 8, 16, 32)  # samples a call that are tried
BATCH_S = 0.3  # for each of them
WORSE = 2  # sizes in a row that bring less, after which no larger one is tried
MOST_BYTES = 256 << 20  # of answers that are kept; LoadGen's log of them takes twice that
SAME_GROUPS = 4  # calls of a size that are compared with single calls


class Loaded:
    """A bundle with samples in memory. `open` comes first; every answer of a public method is a JSON value."""

    def open(self, bundle: str, samples: str) -> int:
        """Load both; the number of samples.

        Args:
            samples: a folder with i.npy [N, ...] of the i-th input, prepared.
        """
        self.bundle = Bundle.load(bundle, verify=False)
        names = [tensor.name for tensor in self.bundle.signature.inputs]
        self._inputs = {name: np.load(Path(samples) / f"{i}.npy", allow_pickle=False) for i, name in enumerate(names)}
        self.count = len(next(iter(self._inputs.values())))
        return self.count

    def answer(self, which: Sequence[int]) -> np.ndarray:
        """The answer to these samples in one call: the bytes of all outputs, uint8 [samples, bytes]."""
        outputs = self._outputs(which)
        self.bundle.pipeline.decide(outputs)
        return _bytes(outputs, len(which))

    def rest(self, out: str, count: int) -> int:
        """The outputs for the first samples, one call each, at rest: i.npy in `out`, [samples, ...] of the i-th output.

        Returns:
            How many: `count`, or as many as `MOST_BYTES` hold.
        """
        found: list[dict[str, np.ndarray]] = []
        room = MOST_BYTES
        for i in range(count):
            found.append(self._outputs([i]))
            room -= sum(array.nbytes for array in found[-1].values())
            if room <= 0:
                break
        Path(out).mkdir(parents=True)
        for place, name in enumerate(found[0]):
            rows = [one[name] for one in found]
            if any(row.shape != rows[0].shape for row in rows):
                raise InputError(f"the output {name!r} changes its shape from sample to sample", _SHAPE)
            np.save(Path(out) / f"{place}.npy", np.concatenate(rows))
        return len(found)

    def probe(self, seconds: float) -> dict[str, Any]:
        """See hasten.measure._load_settings.Probe."""
        self.warm((1,), seconds)
        times: list[float] = []
        over = time.perf_counter() + seconds
        while len(times) < PROBE_CALLS or time.perf_counter() < over:
            began = time.perf_counter()
            self.answer([len(times) % self.count])
            times.append(1e3 * (time.perf_counter() - began))
        p50, p90 = (float(np.quantile(times, q)) for q in (0.5, 0.9))
        per_s, best, worse = {1: 1e3 / p50}, 1e3 / p50, 0
        for size in SIZES:
            if size > self.count or worse == WORSE or size * p50 / 1e3 > seconds or not self._same(size):
                break
            per_s[size] = self._rate(size)
            best, worse = (per_s[size], 0) if per_s[size] > best else (best, worse + 1)
        return {"latency_p50_ms": p50, "latency_p90_ms": p90, "per_s": {str(k): v for k, v in per_s.items()}}

    def warm(self, sizes: Sequence[int], seconds: float) -> None:
        """Calls of every size, so long in all."""
        for size in sizes:
            over, done = time.perf_counter() + seconds / len(sizes), 0
            while done < WARM_CALLS or time.perf_counter() < over:
                self.answer([(done + i) % self.count for i in range(size)])
                done += 1

    def _outputs(self, which: Sequence[int]) -> dict[str, np.ndarray]:
        if len(which) == 1:
            return self.bundle.infer({name: array[which[0] : which[0] + 1] for name, array in self._inputs.items()})
        return self.bundle.infer({name: array[list(which)] for name, array in self._inputs.items()})

    def _same(self, size: int) -> bool:
        """Whether calls of so many samples are taken, and answered to the byte as single calls."""
        for start in range(0, min(self.count, SAME_GROUPS * size) - size + 1, size):
            which = list(range(start, start + size))
            try:
                together = self.answer(which)
            except InputError:
                return False  # an axis that is called free, and is not
            if not np.array_equal(together, np.concatenate([self.answer([i]) for i in which])):
                return False
        return True

    def _rate(self, size: int) -> float:
        """Samples a second in calls of `size`, from the median call."""
        times: list[float] = []
        over = time.perf_counter() + BATCH_S
        while len(times) < 3 or time.perf_counter() < over:
            which = [(len(times) * size + i) % self.count for i in range(size)]
            began = time.perf_counter()
            self.answer(which)
            times.append(time.perf_counter() - began)
        return size / float(np.median(times))


_SHAPE = "give a bundle whose outputs have one shape and the samples on their first axis"


def _bytes(outputs: dict[str, np.ndarray], count: int) -> np.ndarray:
    """Outputs in the order of the signature, a row of bytes a sample."""
    rows = []
    for name, array in outputs.items():
        if array.shape[:1] != (count,):
            raise InputError(f"the output {name!r} has shape {list(array.shape)} for {count} samples", _SHAPE)
        rows.append(np.ascontiguousarray(array).reshape(count, array.size // count).view(np.uint8))
    return rows[0] if len(rows) == 1 else np.concatenate(rows, axis=1)
