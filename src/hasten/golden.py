"""Golden cases: real samples with the answers that were given where the bundle was made; every load replays them.

The tolerance of an output is a share of its largest magnitude over the cases' candidates. The share is what one engine
may differ by between two machines that both compute as they should:

    f32   2^-13  1,024 f32 spacings: another instruction set or number of threads sums in another order
    i8    2^-5   8 of 256 grid steps: a value at a rounding edge falls to the other side, in every layer
    bf16  2^-4   16 bf16 spacings: a machine without bf16 computes the same layers in f32

Worst of 200 images on a residual network of 22 convolutions, OpenVINO, AVX2 against AVX-512 VNNI: 0.0000008 in f32 and
0.017 in INT8; bf16 against f32: 0.037. A CPU whose 8-bit products saturate (AVX2 without VNNI, on some engines) may go
beyond that. Those are other answers than were measured, and verification says so, as it should.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from hasten import files, manifest
from hasten.data import Data
from hasten.errors import HastenError, InputError, Unmet
from hasten.model import Arrays, Signature
from hasten.pipeline import Pipeline

CASES = 8
MARGIN = 10.0  # times the tolerance: how clearly a case has to be decided
SHARES = {"f32": 2.0**-13, "i8": 2.0**-5, "bf16": 2.0**-4}
INDEX = "golden/cases.json"
_SCALE_RUNS, _MOST_RUNS = 16, 512
_SEEN = 128  # samples at a time that are looked at where they go different ways
_SAFE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")

Run = Callable[[Arrays], Mapping[str, np.ndarray]]  # prepared tensors -> outputs, in the order of the signature
Further = Callable[[Arrays, Mapping[str, float]], tuple[np.ndarray, np.ndarray]]  # see Flow.further
Part = Literal["raw", "prepared", "output"]


class Undecided(InputError):  # noqa: N818 - an answer
    """Too few samples are clearly decided."""


@dataclass(frozen=True)
class Case:
    """One call: a single sample, or as many as a fixed batch takes. Arrays are .npy files, by the tensor's name."""

    id: str
    raw: Mapping[str, str]
    prepared: Mapping[str, str]
    output: Mapping[str, str]
    decision: Sequence[Any]  # one a sample, as Pipeline.decide gives it
    margin: float | None  # in tolerances, as Answer.margin gives it


@dataclass(frozen=True)
class Golden:
    """The cases, and by how much each output may differ from theirs."""

    tolerance: Mapping[str, float]
    cases: tuple[Case, ...]

    @classmethod
    def read(cls, folder: Path, signature: Signature, digests: Mapping[str, str]) -> Self:
        """The cases of the bundle in `folder`.

        Raises:
            InputError: they do not fit the schema, the signature or the list of files.
        """
        path = folder / INDEX
        data = manifest.parse(path)
        manifest.validate(data, "golden", path)
        golden = cls(data["tolerance"], tuple(Case(**c) for c in data["cases"]))
        if fault := next(golden._faults(signature, digests), None):
            raise InputError(f"{path}: {fault}", manifest.AGAIN)
        return golden

    def _faults(self, signature: Signature, digests: Mapping[str, str]) -> Iterator[str]:
        """What the schema cannot say."""
        inputs, outputs = ({t.name for t in side} for side in (signature.inputs, signature.outputs))
        if set(self.tolerance) != outputs:
            yield f"tolerances are not those of {sorted(outputs)}"
        for case in self.cases:
            for part, names in (("raw", inputs), ("prepared", inputs), ("output", outputs)):
                arrays = getattr(case, part)
                if set(arrays) != names:
                    yield f"case {case.id} has other {part} arrays than {sorted(names)}"
                if strange := sorted(set(arrays.values()) - set(digests)):
                    yield f"case {case.id} names {strange[0]}, which is no file of the bundle"

    @classmethod
    def make(
        cls,
        folder: Path,
        data: Data,
        signature: Signature,
        pipeline: Pipeline,
        run: Run,
        precisions: set[str],
        further: Further | None = None,
    ) -> Self:
        """Choose samples that are clearly decided, run them, and write them into `folder`.

        Args:
            data: raw samples, at least CASES of them.
            precisions: those that the stages compute in; the widest sets the tolerance.
            further: where stages are left out at times: how many of them a sample takes. Cases then go every way that
                samples do, in about their proportion, and by no tolerance another one.

        Raises:
            InputError: too few samples, or too few that are clearly decided.
        """
        share = max(SHARES.get(p, SHARES["bf16"]) for p in precisions)
        chosen, tolerance = _choose(data, signature, pipeline, run, share, further)
        cases = [
            Case(
                f"{i:03d}",
                *_stored(folder, f"{i:03d}", signature, pipeline, raw, output),
                pipeline.decide(output),
                pipeline.answer.margin(output, tolerance),
            )
            for i, (raw, output) in enumerate(chosen)
        ]
        golden = cls(tolerance, tuple(cases))
        files.write(folder / INDEX, manifest.dumps(asdict(golden)))
        return golden

    def raw(self, folder: Path, case: int = 0) -> dict[str, np.ndarray]:
        """The raw inputs of a case, by name.

        Raises:
            InputError: an array that cannot be read.
        """
        return {name: _load(folder / path) for name, path in self.cases[case].raw.items()}

    def replay(self, folder: Path, signature: Signature, pipeline: Pipeline, run: Run) -> None:
        """Run every case again.

        Raises:
            Unmet: the first case that differs, where, and by how much.
            InputError: an array that cannot be read.
        """
        for case in self.cases:
            raw, prepared, expected = (
                {t.name: _load(folder / getattr(case, part)[t.name]) for t in tensors}
                for part, tensors in (
                    ("raw", signature.inputs),
                    ("prepared", signature.inputs),
                    ("output", signature.outputs),
                )
            )
            got = pipeline.prepared(raw)
            for name, array in prepared.items():
                if got[name].dtype != array.dtype or not np.array_equal(got[name], array):
                    raise _unmet(case, f"the prepared tensor {name!r} is not the same")
            try:
                answer = run(prepared)
            except HastenError as fault:
                raise _unmet(case, f"it does not run: {fault.what}") from fault
            self._compare(case, answer, expected)
            if (decision := pipeline.decide(answer)) != case.decision:
                raise _unmet(case, f"the decision is {str(decision)[:80]}, it was {str(case.decision)[:80]}")

    def _compare(self, case: Case, answer: Arrays, expected: Arrays) -> None:
        for name, array in expected.items():
            got = answer[name]
            if got.dtype != array.dtype or got.shape != array.shape:
                raise _unmet(
                    case, f"output {name!r} is {got.dtype} {list(got.shape)}, it was {array.dtype} {list(array.shape)}"
                )
            with np.errstate(invalid="ignore"):  # inf - inf, where the next line finds them equal
                difference = np.abs(got.astype(np.float64) - array.astype(np.float64))
            worst = float(np.where(got == array, 0.0, difference).max(initial=0.0))
            if not worst <= self.tolerance[name]:
                raise _unmet(case, f"output {name!r} differs by {worst:.3g}, {self.tolerance[name]:.3g} is allowed")


def _choose(
    data: Data, signature: Signature, pipeline: Pipeline, run: Run, share: float, further: Further | None
) -> tuple[list[tuple[Arrays, Arrays]], dict[str, float]]:
    """(raw, output) of CASES calls that are clearly decided, and the tolerances."""
    if len(data) < CASES:
        raise InputError(f"golden cases need {CASES} samples, and there are {len(data)}", "give more data")
    pairs = []
    order = np.random.default_rng(0).permutation(len(data))[:_MOST_RUNS]
    for done, start in enumerate(order, 1):
        raw = data.take((start + np.arange(signature.fixed_batch)) % len(data)).inputs
        output = run(pipeline.prepared(raw))
        if all(np.isfinite(a).all() for a in output.values()):
            pairs.append((raw, output))
        if len(pairs) < min(_SCALE_RUNS, len(data)) or (further and done % _SEEN and done < len(order)):
            continue
        tolerance = _tolerances([o for _, o in pairs[:_SCALE_RUNS]], share)
        clear = [(r, o) for r, o in pairs if _clear(pipeline.answer.margin(o, tolerance))]
        if further:
            clear = _every_way(clear, [pipeline.prepared(r) for r, _ in clear], tolerance, further)
        if len(clear) >= CASES:
            return clear[:CASES], tolerance
    raise Undecided(
        f"fewer than {CASES} samples have finite outputs and are decided by {MARGIN:g} times the tolerance",
        "give more data, or let the pipeline answer with tensors",
    )


def _every_way(
    pairs: Sequence[tuple[Arrays, Arrays]], prepared: Sequence[Arrays], tolerance: Mapping[str, float], further: Further
) -> list[tuple[Arrays, Arrays]]:
    """CASES of those that no tolerance sends another way, of each way one at least; fewer where there are fewer."""
    seen = [further(feed, tolerance) for feed in prepared]
    ways = [int(count.max()) for count, _ in seen]
    able = sorted((i for i, (_, steady) in enumerate(seen) if steady.all()), key=lambda i: ways[i])
    if len(able) <= CASES:
        return [pairs[i] for i in able]
    chosen = {able[round(p)] for p in np.linspace(0, len(able) - 1, CASES)}  # both ends: the shortest and the longest
    return [pairs[i] for i in sorted(chosen)]


def _tolerances(outputs: Sequence[Arrays], share: float) -> dict[str, float]:
    """By output name; integers have to be equal."""

    def one(name: str) -> float:
        kind = outputs[0][name].dtype
        if kind.kind != "f":
            return 0.0
        largest = max(float(np.abs(o[name]).max(initial=0.0)) for o in outputs)
        return max(share, 4 * float(np.finfo(kind).eps)) * largest

    return {name: one(name) for name in outputs[0]}


def _clear(margin: float | None) -> bool:
    return margin is None or margin >= MARGIN


def _stored(
    folder: Path, name: str, signature: Signature, pipeline: Pipeline, raw: Arrays, output: Arrays
) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    def save(part: Part, arrays: Arrays) -> dict[str, str]:
        plain = all(_SAFE.fullmatch(tensor) for tensor in arrays)
        paths = {t: f"golden/{name}/{part}.{t if plain else place}.npy" for place, t in enumerate(arrays)}
        for tensor, path in paths.items():
            files.write(folder / path, partial(_save, arrays[tensor]))
        return paths

    prepared = {t.name: pipeline.prepared(raw)[t.name] for t in signature.inputs}
    return save("raw", raw), save("prepared", prepared), save("output", output)


def _save(array: np.ndarray, path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.ascontiguousarray(array), allow_pickle=False)


def _load(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as file:
            return np.asarray(np.lib.format.read_array(file, allow_pickle=False))
    except (ValueError, MemoryError, EOFError) as fault:
        raise InputError(f"{path} is not a .npy file ({fault})", manifest.AGAIN) from fault


def _unmet(case: Case, what: str) -> Unmet:
    return Unmet(
        f"golden case {case.id}: {what}",
        "this machine does not give the answers that were measured: run hasten boost on it",
    )
