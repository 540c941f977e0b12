"""The bundle: the folder that is deployed. spec/bundle.md is the format on one page."""

import platform
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from hasten import __version__, files, manifest
from hasten.data import Data
from hasten.errors import HastenError, InputError
from hasten.flow import Flow
from hasten.golden import Golden
from hasten.model import Arrays, Signature, Tensor
from hasten.pipeline import Pipeline, Window
from hasten.stage import Stage, Unless

REPORT = "report.html"


def is_bundle(folder: str | Path) -> bool:
    """Whether a folder holds a bundle, whole or damaged."""
    return (Path(folder) / manifest.NAME).is_file()


def writable(target: str | Path) -> Path:
    """Where a bundle may go, absolute: nowhere yet, into an empty folder, or in the place of another bundle.

    Raises:
        InputError: something else is there.
    """
    target = Path(target).absolute()
    if target.exists() and not is_bundle(target) and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target} exists and is not a bundle", "choose another folder")
    return target


@dataclass(frozen=True, eq=False)
class Bundle:
    """A network with all that deployment needs to know of it. Use it as a context manager, or `close` it.

    Attributes:
        folder: where it lies.
        signature: the network's inputs, prepared, and its outputs.
        stages: in the order in which they run.
        pipeline: raw input -> tensor, and tensor -> answer.
        recipe: what was done to the trained model.
        measurements: the row of the result (spec/result.schema.json) that won, and `conditions`: where it was measured.
        versions: package -> version where it was made.
    """

    folder: Path
    signature: Signature
    stages: tuple[Stage, ...]
    pipeline: Pipeline = field(default_factory=Pipeline)
    recipe: str = ""
    measurements: Mapping[str, Any] = field(default_factory=dict)
    conditions: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    golden: Golden = field(default_factory=lambda: Golden({}, ()))

    @classmethod
    def load(cls, folder: str | Path, verify: bool = True) -> Self:
        """Parse, check schema and digests, see that this installation can honour it, replay the golden cases.

        Args:
            verify: False puts the golden cases off until `verify` is called; engines then compile at the first run.

        Raises:
            InputError: damaged, incomplete, or of a newer format; which file, and how to mend it.
            MissingError: an engine or a stage of the pipeline that this installation lacks.
            Unmet: a golden case gives another answer here.
        """
        folder = Path(folder)
        data = manifest.read(folder)
        bundle = cls(
            folder,
            Signature.from_json(data["signature"]),
            tuple(Stage.from_json(s, folder) for s in data["stages"]),
            Pipeline.from_json(data["pipeline"]),
            data["recipe"],
            data["measurements"],
            data["conditions"],
            data["versions"],
        )
        bundle._check(data["files"])
        bundle = replace(bundle, golden=Golden.read(folder, bundle.signature, data["files"]))
        if verify:
            try:
                bundle.verify()
            except HastenError:
                bundle.close()
                raise
        return bundle

    def verify(self) -> None:
        """Replay the golden cases.

        Raises:
            Unmet: the first case that differs, where, and by how much.
        """
        self.golden.replay(self.folder, self.signature, self.pipeline, self.infer)

    def run(self, feed: Arrays) -> dict[str, np.ndarray]:
        """Outputs of any number of samples, a fixed batch included.

        Args:
            feed: raw inputs by name, [N, ...] each, N >= 1.

        Raises:
            InputError: names, dtypes or shapes that do not fit, or no samples.
        """
        if set(feed) != {t.name for t in self.signature.inputs}:
            self.signature.check(feed)
        if any(a.ndim and not len(a) for a in feed.values()):
            raise InputError("there are no samples in the feed", "give at least one")
        return self.infer(self.pipeline.prepared(feed))

    __call__ = run

    def answer(self, feed: Arrays) -> list[Any]:
        """Decisions, one a sample, as the pipeline defines them; arguments as for `run`."""
        return self.pipeline.decide(self.run(feed))

    @classmethod
    def write(
        cls,
        target: str | Path,
        *,
        stages: Sequence[Stage],
        pipeline: Pipeline,
        recipe: str,
        measurements: Mapping[str, Any],
        conditions: Mapping[str, Any],
        cases: Data,
        report: str | None = None,
    ) -> Self:
        """Make a bundle aside, verify it, and put it in the place of `target`, which is whole at every moment.

        Args:
            target: the folder; a bundle or an empty folder there is replaced.
            stages: their `file` is copied.
            measurements, conditions: values of JSON, finite.
            cases: real samples, of which golden cases are chosen; at least 8 that are clearly decided.
            report: HTML.

        Raises:
            InputError: `target` is something else, cannot be written, or the cases are too few.
            MissingError: what this installation could not run.
            Unmet: the finished bundle does not give its own answers again.
        """
        target = writable(target)
        aside = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.aside")
        try:
            with files.writing(target):
                aside.mkdir(parents=True)
                placed = tuple(replace(s, file=Path(shutil.copyfile(s.file, aside / f"{s.name}.onnx"))) for s in stages)
                with cls(
                    aside, _signature(stages, pipeline.window), placed, pipeline, recipe, measurements, conditions
                ) as draft:
                    draft._fill(cases, report)
                cls.load(aside).close()
                files.replace_folder(aside, target)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return cls.load(target, verify=False)

    def _fill(self, cases: Data, report: str | None) -> None:
        """Everything beside the stages: golden cases, report, bundle.json."""
        self._check({s.file.name: "" for s in self.stages})
        precisions = {p for s in self.stages for p in s.precisions}
        further = self.flow.further if any(s.unless for s in self.stages) else None
        Golden.make(self.folder, cases, self.signature, self.pipeline, self.infer, precisions, further)
        if report is not None:
            files.write(self.folder / REPORT, report)
        stages = [s.to_json() for s in self.stages]
        engines = {s["engine"]["name"]: stage.engine.version() for s, stage in zip(stages, self.stages, strict=True)}
        versions = {"hasten": __version__, "python": platform.python_version(), "numpy": np.__version__}
        content = {
            "signature": self.signature.to_json(),
            "stages": stages,
            "pipeline": self.pipeline.to_json(),
            "recipe": self.recipe,
            "measurements": self.measurements,
            "conditions": self.conditions,
            "versions": versions | engines,
        }
        manifest.write(self.folder, content)

    def _check(self, listed: Mapping[str, str]) -> None:
        """See that the stages fit together, and that this installation can run them and honour the pipeline."""
        known = {t.name: t.dtype for t in self.signature.inputs}
        for stage in self.stages:
            if stage.file.relative_to(self.folder).as_posix() not in listed:
                raise InputError(
                    f"stage {stage.name!r} names {stage.file.name}, which is no file of the bundle", manifest.AGAIN
                )
            for tensor in stage.signature.inputs:
                if known.get(tensor.name) != tensor.dtype:
                    raise InputError(
                        f"stage {stage.name!r} takes {tensor}, which nothing before it gives", manifest.AGAIN
                    )
            if stage.when in ("frame", "window") and not self.pipeline.window:
                raise InputError(
                    f"stage {stage.name!r} runs by {stage.when!r}, and the pipeline has no window", manifest.AGAIN
                )
            if stage.unless:
                _check_unless(stage, stage.unless, known)
            known |= {t.name: t.dtype for t in stage.signature.outputs}
        for tensor in self.signature.outputs:
            if known.get(tensor.name) != tensor.dtype:
                raise InputError(f"no stage gives the output {tensor}", manifest.AGAIN)
        self.pipeline.check(self.signature)
        self.pipeline.require()
        for stage in self.stages:
            stage.require()

    @cached_property
    def flow(self) -> Flow:
        """The stages, compiled when they are first asked for."""
        return Flow(self.stages, [t.name for t in self.signature.outputs])

    def infer(self, prepared: Arrays) -> dict[str, np.ndarray]:
        """Prepared tensors through all stages; outputs in the order of the signature."""
        outputs = self.flow.run(prepared)
        self._of_any_number.check(outputs, "outputs")
        return outputs

    @cached_property
    def _of_any_number(self) -> Signature:
        """A first axis of outputs that is a number is the batch of a stage: a bundle takes any number of samples."""

        def freed(tensor: Tensor) -> Tensor:
            return replace(tensor, shape=(*map(str, tensor.shape[:1]), *tensor.shape[1:]))

        return replace(self.signature, outputs=tuple(map(freed, self.signature.outputs)))

    def close(self) -> None:
        """Give back the engines' threads and memory; harmless when repeated."""
        if flow := self.__dict__.pop("flow", None):
            flow.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _check_unless(stage: Stage, unless: Unless, known: Mapping[str, str]) -> None:
    if unless.output not in known:
        raise InputError(
            f"stage {stage.name!r} looks at {unless.output!r}, which nothing before it gives", manifest.AGAIN
        )
    for tensor in stage.signature.outputs:
        if known.get(tensor.name) != tensor.dtype:
            raise InputError(
                f"stage {stage.name!r} is left out at times, and nothing before it gives {tensor}", manifest.AGAIN
            )


def _signature(stages: Sequence[Stage], window: Window | None) -> Signature:
    """Of all stages together: inputs that no stage gives, outputs that no later stage takes."""
    given: set[str] = set()
    taken: set[str] = set()
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}
    for stage in stages:
        taken |= {t.name for t in stage.signature.inputs}
        inputs |= {t.name: _outside(t, stage, window) for t in stage.signature.inputs if t.name not in given}
        given |= {t.name for t in stage.signature.outputs}
        outputs |= {t.name: _outside(t, stage, window) for t in stage.signature.outputs}
    return Signature(tuple(inputs.values()), tuple(t for n, t in outputs.items() if n not in taken))


def _outside(tensor: Tensor, stage: Stage, window: Window | None) -> Tensor:
    """A tensor of a stage as the bundle has it: a frame stage knows nothing of time."""
    if stage.when != "frame" or window is None:
        return tensor
    return replace(tensor, shape=(*tensor.shape[:1], window.length, *tensor.shape[1:]))
