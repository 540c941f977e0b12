"""Where space, time and classes lie in the inputs and outputs of a network: by its pipeline, or by its shapes."""

from dataclasses import dataclass

from hasten.errors import UsageError
from hasten.model import Signature, Tensor
from hasten.offline.views.geometry import Axes
from hasten.pipeline import Pipeline

_CHANNELS = (1, 3)  # by which an image is known where the pipeline says nothing


@dataclass(frozen=True)
class Output:
    """
    Attributes:
        axes: of its space and time; none of a vector.
        classes: the axis of the scores.
        boxes: whether it is one of the two that make up boxes.
    """

    axes: Axes
    classes: int = -1
    boxes: bool = False


def image_inputs(signature: Signature, pipeline: Pipeline) -> dict[str, Axes]:
    """The axes of every input that is an image or a clip."""
    found = {t.name: _input(t, pipeline) for t in signature.inputs}
    return {name: axes for name, axes in found.items() if axes is not None}


def _input(tensor: Tensor, pipeline: Pipeline) -> Axes | None:
    how, rank = pipeline.inputs.get(tensor.name), len(tensor.shape)
    if how is not None and how.kind == "image":
        first = (2 if how.layout == "NCHW" else 1) + (pipeline.window is not None)
        return Axes(first, first + 1, 1 if pipeline.window else None)
    able = {4: {1: Axes(2, 3), 3: Axes(1, 2)}, 5: {1: Axes(3, 4, 2), 2: Axes(3, 4, 1), 4: Axes(2, 3, 1)}}.get(rank, {})
    fits = [axes for channel, axes in able.items() if tensor.shape[channel] in _CHANNELS]
    return fits[0] if len(fits) == 1 else None


def outputs(signature: Signature, pipeline: Pipeline, image: Tensor, axes: Axes) -> dict[str, Output]:
    """How each output is put back.

    Args:
        image: the input that it is put back over, and `axes` of it.

    Raises:
        UsageError: one that is neither a vector, a map, a row for each frame nor boxes, or not of floats.
    """
    kind = pipeline.answer.kind
    found = {}
    for i, tensor in enumerate(signature.outputs):
        scores = i == 0 and kind in ("classes", "events")
        output = Output(Axes(), boxes=True) if kind == "boxes" and i < 2 else _output(tensor, scores, image, axes)
        if output is None or not tensor.dtype.startswith(("float", "bfloat")):
            raise UsageError(
                f"the output {tensor} cannot be put back over the input {image}",
                "views go with networks that give vectors, maps, a row for each frame, or boxes",
            )
        found[tensor.name] = output
    return found


def _output(tensor: Tensor, scores: bool, image: Tensor, axes: Axes) -> Output | None:
    """
    Args:
        scores: classes are its last axis, whatever is in front of them.
    """
    rank, clip = len(tensor.shape), axes.time is not None
    if not 1 <= rank <= 5:
        return None
    if rank <= 2:
        return Output(Axes())
    if rank == 3 and clip:
        return Output(Axes(time=1)) if _like(tensor, 1, image, axes.time) else None
    first = 1 if rank == 3 else {True: 1, False: axes.space[0] - clip}[scores]
    map_axes = Axes(first, first + 1)
    classes = -1 if scores or first == 1 else 1
    if rank == 5:
        if not clip or not _like(tensor, 1, image, axes.time):
            return None
        map_axes, classes = Axes(first + 1, first + 2, 1), classes if classes < 0 else 2
    height, width = (tensor.shape[a] for a in map_axes.space)
    sides = [image.shape[a] for a in axes.space]
    if (height, width) == (1, 1):
        return Output(Axes(time=map_axes.time), classes)
    known = all(isinstance(n, int) for n in (height, width, *sides))
    if known and height * sides[1] != width * sides[0]:  # type: ignore[operator]
        return None
    return Output(map_axes, classes)


def _like(tensor: Tensor, axis: int, image: Tensor, time: int | None) -> bool:
    """Whether an axis may be that of the frames."""
    here, frames = tensor.shape[axis], image.shape[time or 0]
    return here == frames or isinstance(here, str) or isinstance(frames, str)
