"""shrink_input: the network is given less to look at: fewer pixels, no colour, fewer frames, shorter clips."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from hasten.compress._images import Axes, folded, greyed, images, length, reader, share, with_lengths, with_one_channel
from hasten.compress.heal import Heal
from hasten.errors import InputError, NotApplicable, UsageError
from hasten.model import Model, Signature, Tensor, TorchModel
from hasten.pipeline import Pipeline, Window
from hasten.technique import Technique

if TYPE_CHECKING:
    import torch

    from hasten.task import Task

SIDES, SAMPLES = (1.0, 0.85, 0.7, 0.5), 1000  # of the surface: shares of height and width; samples of validate
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShrinkInput(Technique):
    """Smaller images and shorter clips, for a network that takes them (global pooling; a mean over frames).

    Multiply-adds fall with the square of the side, on every engine (Tan and Le 2019, arXiv:1905.11946, on resolution as
    a dimension of its own). It changes the pipeline, from what is raw: training, calibration, scores, golden cases and
    the bundle see the smaller input. What the untrained change costs is measured first, at several sides, with and
    without colour, at half the frames and half the length, and kept with the model as `surface`; then the network is
    healed, towards the original's answers to the whole input. It does not pay where details decide, nor where a fixed
    number of pixels is built into the network: then it says so.

    Settings:
        side: share of height and width.
        grey: one channel in place of three; the first convolution then hears the sum of what it heard.
        fps: share of the frame rate of clips.
        seconds: share of the length of clips; the newest part stays.
        epochs: of healing; 0 is none.
        lr: the highest rate of healing.
        seed: of healing.
    """

    side: float = 0.75
    grey: bool = False
    fps: float = 1.0
    seconds: float = 1.0
    epochs: int = 0
    lr: float = 1e-3
    seed: int = 0

    takes: ClassVar[Literal["torch", "onnx"]] = "torch"

    def __post_init__(self) -> None:
        """
        Raises:
            UsageError: a setting out of range.
        """
        if not all(0 < part <= 1 for part in (self.side, self.fps, self.seconds)):
            raise UsageError(f"{self} cannot shrink an input", "side, fps and seconds are above 0, and at most 1")
        if self.epochs < 0 or self.lr <= 0 or self.seed < 0:
            raise UsageError(f"{self} cannot heal", "lr is above 0, epochs and seed are at least 0")

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]  # of this instance
        return frozenset({"train"} if self.epochs else ())

    @classmethod
    def missing(cls) -> str | None:
        return Heal.missing()

    @classmethod
    def presets(cls, task: "Task", epochs: int) -> tuple[Technique, ...]:
        """Two sides; of clips, half the frames. None where no pipeline prepares the data."""
        if not any(how.kind == "image" for how in task.pipeline.inputs.values()):
            return ()
        return cls(0.85, epochs=epochs), cls(0.7, fps=0.5 if task.pipeline.window else 1.0, epochs=epochs)

    def apply(self, model: Model, task: "Task") -> TorchModel:
        """
        Raises:
            NotApplicable: data that is not prepared by a pipeline, or a network that takes no other input; says why.
        """
        assert isinstance(model, TorchModel)
        self._see(model, task)
        made, point = self._changed(model, task)
        others = self._others(task.pipeline) if task.validate is not None else ()
        surface = [said for other in others if (said := other._seen(model, task))]
        _LOG.info("%s: %s; before any training: %s", self, point, surface)
        edit: dict[str, Any] = {"shrunk": point, "surface": surface}
        made = made.edited("shrink_input", edit)
        after = task.through(self.pipeline(task.pipeline, model.signature))
        return Heal(self.epochs, self.lr, seed=self.seed).train(made, after) if self.epochs else made

    @classmethod
    def replay(cls, module: "torch.nn.Module", edit: Mapping[str, Any], task: "Task") -> "torch.nn.Module":
        for layer in edit["shrunk"]["grey"]:
            module = with_one_channel(module, str(layer))
        return module

    def signature(self, before: Signature) -> Signature:
        inputs = (self._smaller(t, axes) if (axes := Axes.of(t)) else t for t in before.inputs)
        return Signature(tuple(inputs), before.outputs)

    def pipeline(self, before: Pipeline, signature: Signature) -> Pipeline:
        """Sizes come from the signature, since a pipeline may leave images in their own."""
        inputs = dict(before.inputs)
        for name, (tensor, axes) in images(signature).items():
            how = inputs[name]
            if self.grey and how.colour != "grey":
                how = greyed(how)
            if self.side < 1:
                height, width = share([length(tensor, axes.height), length(tensor, axes.width)], self.side)
                how = replace(how, size=(height, width))
            inputs[name] = how
        return replace(before, inputs=inputs, window=self._window(before.window))

    def _smaller(self, tensor: Tensor, axes: Axes) -> Tensor:
        height, width = share([length(tensor, axes.height), length(tensor, axes.width)], self.side)
        lengths = {axes.height: height, axes.width: width}
        if self.grey:
            lengths[axes.channels] = 1
        if axes.frames is not None:
            lengths[axes.frames] = self._frames(length(tensor, axes.frames))
        return with_lengths(tensor, lengths)

    def _frames(self, before: int) -> int:
        return share([before], self.fps * self.seconds)[0]

    def _window(self, before: Window | None) -> Window | None:
        """As many frames as the signature says, in so many seconds."""
        if before is None or self.fps == self.seconds == 1:
            return before
        seconds = before.seconds * self.seconds
        return replace(before, seconds=seconds, fps=self._frames(before.length) / seconds)

    def _see(self, model: TorchModel, task: "Task") -> None:
        """That there is something to shrink, and a pipeline that does it."""
        prepared = {name for name, how in task.pipeline.inputs.items() if how.kind == "image"}
        if not prepared:
            raise self.nothing({}, "the task's data is prepared already: give it raw, with a pipeline that prepares it")
        if odd := prepared ^ images(model.signature).keys():
            raise self.nothing({}, f"{sorted(odd)[0]!r} is an image to the pipeline alone, or to the network alone")
        if (self.fps, self.seconds) != (1.0, 1.0) and not task.pipeline.window:
            raise self.nothing({}, "fps and seconds are of clips, and the pipeline has no window")
        if self.grey and all(task.pipeline.inputs[name].colour == "grey" for name in prepared):
            raise self.nothing({}, "the images are grey already")
        if self.signature(model.signature) == model.signature:
            raise self.nothing({}, f"a share of {self.side:g} leaves the input as it is")

    def _changed(self, model: TorchModel, task: "Task") -> tuple[TorchModel, dict[str, Any]]:
        """The network for the smaller input, before any training, and what was done.

        Raises:
            NotApplicable: the network does not take it.
        """
        module, layers = model.module, []
        after = task.through(self.pipeline(task.pipeline, model.signature))
        feed = {k: v[:2] for k, v in task.sample().inputs.items()}
        for name, how in task.pipeline.inputs.items() if self.grey else ():
            if how.kind == "image" and how.colour != "grey":
                layer = reader(model.module, {t.name: feed[t.name] for t in model.signature.inputs}, name)
                if layer is None:
                    raise self.nothing({}, f"no convolution alone reads {name!r}, and its colour cannot be left out")
                module = folded(module, layer, how, after.pipeline.inputs[name])
                layers.append(layer)
        wanted = self.signature(model.signature)
        try:
            sample = after.sample().take(slice(0, 1)).inputs
            now = TorchModel.of(module, {t.name: sample[t.name] for t in model.signature.inputs}).signature
        except InputError as fault:
            raise self.nothing({}, f"the network does not take {wanted.inputs[0]}: {fault.what}") from fault
        if now != wanted:
            raise self.nothing({}, f"the network answers to {wanted.inputs[0]} with {', '.join(map(str, now.outputs))}")
        made = replace(model, module=module, signature=wanted)
        shapes = {name: list(tensor.shape[1:]) for name, (tensor, _) in images(wanted).items()}
        return made, {"inputs": shapes, "grey": layers}

    def _others(self, pipeline: Pipeline) -> Iterator["ShrinkInput"]:
        """The settings of the surface, these among them."""
        coloured = any(how.kind == "image" and how.colour != "grey" for how in pipeline.inputs.values())
        greys = (False, True) if coloured else (False,)
        frames = ((1.0, 1.0), (0.5, 1.0), (1.0, 0.5)) if pipeline.window else ((1.0, 1.0),)
        every = [ShrinkInput(s, g, f, t) for s, g, (f, t) in product(SIDES, greys, frames)]
        own = ShrinkInput(self.side, self.grey, self.fps, self.seconds)
        yield from every if own in every else [*every, own]

    def _seen(self, model: TorchModel, task: "Task") -> dict[str, Any] | None:
        """One point of the surface: settings and accuracy; None where the network does not take such an input."""
        from hasten.compress._teacher import answers_of, taught

        try:
            made = self._changed(model, task)[0] if self.signature(model.signature) != model.signature else model
        except NotApplicable:
            return None
        after, metric = task.through(self.pipeline(task.pipeline, model.signature)), task.measure
        few = after.split("validate").spread(SAMPLES)
        target = few.target
        if target is None or metric.reference:
            given = (task.origin or task).split("validate").spread(SAMPLES)
            original = task.original
            assert isinstance(original, TorchModel)
            target = taught(original, given)[original.signature.outputs[0].name]
        accuracy = float(metric.total(metric.rows(answers_of(made, few), target)))
        said = {"side": self.side, "grey": self.grey, "fps": self.fps, "seconds": self.seconds}
        return said | {"accuracy": round(accuracy, 6), "samples": len(few)}
