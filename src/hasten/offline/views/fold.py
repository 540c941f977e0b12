"""Test-time augmentation: a network looks at each sample several times, and its answers are made into one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hasten import flow
from hasten.answer import activated
from hasten.bundle import Bundle
from hasten.engine import Session
from hasten.errors import UsageError
from hasten.model import Arrays, Signature, Tensor
from hasten.offline.views import fusion, layout
from hasten.offline.views.geometry import Axes, Back, Size
from hasten.offline.views.merge import Merge, as_logits, merged
from hasten.offline.views.view import DELAYS, View, parse, spread
from hasten.pipeline import Pipeline

Infer = Callable[[Arrays], Mapping[str, np.ndarray]]
Seen = Mapping[str, Back]  # the outputs for one view, put back over the input, by name


@dataclass(frozen=True)
class Views:
    """The views of one network, the input as it is first.

    Attributes:
        merge: how the answers become one; of boxes, which are fused, of no account.
        inputs: where space and time lie in each input that is looked at.
        outputs: how each output is put back.
        free: the network takes images of any size.
        shares: boxes come as shares of height and width, not in pixels of the input.
    """

    views: tuple[View, ...]
    merge: Merge
    pipeline: Pipeline
    inputs: Mapping[str, Axes]
    outputs: Mapping[str, layout.Output] = field(default_factory=dict)
    free: bool = False
    shares: bool = False

    @classmethod
    def of(
        cls,
        views: str | Sequence[View],
        signature: Signature,
        pipeline: Pipeline | None = None,
        merge: str | Merge = "mean",
        shares: bool = False,
    ) -> "Views":
        """
        Args:
            views: as `parse` reads and gives them.
            signature: of the network.
            pipeline: says where the axes of images lie; without it, inputs with 1 or 3 channels count as images.

        Raises:
            UsageError: a view that this network cannot take, or whose answers cannot be put back or merged.
        """
        pipeline = pipeline or Pipeline()
        chosen = parse(views) if isinstance(views, str) else tuple(views)
        how = (Merge.parse(merge) if isinstance(merge, str) else merge).settled(pipeline.answer.activation)
        inputs = layout.image_inputs(signature, pipeline)
        images = [t for t in signature.inputs if t.name in inputs]
        every = spread(chosen, clip=any(axes.time is not None for axes in inputs.values()))
        if len(every) == 1:
            return cls(every, how, pipeline, inputs)
        if not images:
            raise UsageError(
                f"{every[1]} is a view of images, and this network takes {', '.join(map(str, signature.inputs))}",
                "give the pipeline an image input, whose layout it says",
            )
        free = all(isinstance(t.shape[a], str) for t in images for a in inputs[t.name].space)
        for view in every:
            for tensor in images:
                _check(view, tensor, inputs[tensor.name], free)
        outputs = layout.outputs(signature, pipeline, images[0], inputs[images[0].name])
        _check_merge(how, signature, pipeline)
        return cls(every, how, pipeline, inputs, outputs, free, shares)

    @property
    def names(self) -> list[str]:
        return [str(view) for view in self.views]

    def answers(self, infer: Infer, feed: Arrays, batch: int | None = None) -> dict[str, np.ndarray]:
        """Outputs by name, as the network gives them for one look.

        Args:
            infer: prepared tensors by name, of any number of samples, to outputs.
            feed: [N, ...] each.
            batch: samples times views that are handed to `infer` at a time, at most; None: all of them.
        """
        return self.merged(self.seen(infer, feed, batch))

    def seen(self, infer: Infer, feed: Arrays, batch: int | None = None) -> list[Seen]:
        """What each view gives, put back over the input: for `merged`, which may be given some of them."""
        feeds = [self._viewed(view, feed) for view in self.views]
        plain, *others = _together(infer, feeds, batch)
        found: list[Seen] = [{name: (array, None) for name, array in plain.items()}]
        for view, outputs in zip(self.views[1:], others, strict=True):
            found.append({n: self._undone(n, view, array, feed, plain[n]) for n, array in outputs.items()})
        return found

    def merged(self, seen: Sequence[Seen]) -> dict[str, np.ndarray]:
        """One answer of those to several views; of a single one, itself."""
        if len(seen) == 1:
            return {name: array for name, (array, _) in seen[0].items()}
        made: dict[str, np.ndarray] = {}
        for i, name in enumerate(seen[0]):
            if self.outputs[name].boxes:
                made |= self._fused(seen) if i == 0 else {}
                continue
            backs = [s[name] for s in seen]
            merge = self.merge if i == 0 else Merge("mean", "outputs")
            made[name] = merged([a for a, _ in backs], merge, self.outputs[name].classes, [k for _, k in backs])
        return made

    def _viewed(self, view: View, feed: Arrays) -> Arrays:
        if view == self.views[0]:
            return feed
        return {n: view.tensor(a, self.inputs[n], self.free) if n in self.inputs else a for n, a in feed.items()}

    def _undone(self, name: str, view: View, array: np.ndarray, feed: Arrays, plain: np.ndarray) -> Back:
        """
        Args:
            plain: the same output for the input as it is.
        """
        image, axes = next(iter(self.inputs.items()))
        size, output = Size(*(feed[image].shape[a] for a in axes.space)), self.outputs[name]
        if output.boxes:
            return (self._boxes(view, array, size) if name == list(self.outputs)[1] else array), None
        cells = Size(*(plain.shape[a] for a in output.axes.space)) if output.axes.height is not None else size
        return view.undone(array, output.axes, size, cells, self.free)

    def _boxes(self, view: View, boxes: np.ndarray, size: Size) -> np.ndarray:
        if not self.shares:
            return view.boxes(boxes, size, self.free).astype(boxes.dtype)
        after = view.moves(size, self.free)[-1].after
        pixels = boxes.astype(np.float64) * np.tile(after[::-1], 2)
        return np.asarray((view.boxes(pixels, size, self.free) / np.tile(size[::-1], 2)).astype(boxes.dtype))

    def _fused(self, seen: Sequence[Seen]) -> dict[str, np.ndarray]:
        """Scores and boxes of as many as the network gives: those of each view as the bundle tells them, fused.

        What is left over repeats the best one, which suppression takes out again; where no view has a box it is what
        the first one gave.
        """
        names = list(self.outputs)[:2]
        scores, sides = (seen[0][name][0].copy() for name in names)
        told = replace(self.pipeline.answer, top_k=None)
        views = [(s[names[0]][0], s[names[1]][0]) for s in seen]
        kept = [told.decide({names[0]: a, names[1]: b}) for a, b in views]
        for i in range(len(scores)):
            each = []
            for (own, boxes), decisions in zip(views, kept, strict=True):
                which = [box for box, _ in decisions[i]]
                rows = activated(own[i][which].astype(np.float64), told.activation)
                each.append(fusion.Boxes(boxes[i][which].astype(np.float64), rows))
            made = fusion.fused(each, told.iou)
            if len(made.scores):
                which = [k if k < len(made.scores) else 0 for k in range(len(scores[i]))]
                scores[i] = as_logits(made.scores, told.activation)[which]
                sides[i] = made.sides[which]
        return {names[0]: scores, names[1]: sides}


def answers(
    model: Bundle | Session,
    feed: Arrays,
    views: str | Sequence[View],
    merge: str | Merge = "mean",
    pipeline: Pipeline | None = None,
    batch: int | None = None,
) -> dict[str, np.ndarray]:
    """The answers of a bundle, or of a session, to several views of each sample.

    Args:
        feed: prepared tensors by name, [N, ...] each.
        views: `hflip,shift=2`; the input as it is is always among them.
        merge: see Merge.
        pipeline: of a session, whose boxes are in pixels; a bundle has its own, and says by its golden cases.
        batch: as Views.answers.

    Returns:
        Outputs by name, of the form of the network's own.

    Raises:
        UsageError: as Views.of.
        InputError: the engine fails.
    """
    if isinstance(model, Bundle):
        whole = Views.of(views, model.signature, model.pipeline, merge, box_shares(model))
        return whole.answers(model.infer, feed, batch)
    plan = Views.of(views, model.signature, pipeline, merge)
    return plan.answers(lambda part: flow.answer(model, part), feed, batch)


def box_shares(bundle: Bundle) -> bool:
    """Whether the boxes of its golden cases are shares of height and width."""
    if bundle.pipeline.answer.kind != "boxes":
        return False
    name = bundle.signature.outputs[1].name
    return fusion.in_shares([np.load(bundle.folder / case.output[name]) for case in bundle.golden.cases])


def _check_merge(merge: Merge, signature: Signature, pipeline: Pipeline) -> None:
    """
    Raises:
        UsageError: answers of this kind are not merged so.
    """
    answer = pipeline.answer
    if answer.kind == "boxes" and answer.activation == "softmax":
        raise UsageError(
            "boxes of several views need scores of their own, and softmax ties those of a box together",
            "let the pipeline's activation be sigmoid or none",
        )
    if answer.kind == "boxes" and merge not in (Merge(), Merge().settled(answer.activation)):
        raise UsageError(f"boxes are fused, and {merge} is not a way to do it", "leave the way to merge out")
    if merge.of == "softmax" and len(signature.outputs[0].shape) < 2:
        raise UsageError(f"the output {signature.outputs[0]} has no classes", "merge the outputs: mean:outputs")


def _check(view: View, tensor: Tensor, axes: Axes, free: bool) -> None:
    """See that an input can be looked at so.

    Raises:
        UsageError: it cannot.
    """
    sides = [tensor.shape[a] for a in axes.space]
    known = [n for n in sides if isinstance(n, int)]
    size = Size(*(n if isinstance(n, int) else 1 << 16 for n in sides))
    for name, amount in view.steps:
        odd = name in ("rot90", "rot270") and not free and (len(known) == 1 or size.height != size.width)
        if odd:
            raise UsageError(f"{name} swaps height and width, and the input is {tensor}", f"leave {view} out")
        if name in DELAYS and axes.time is None:
            raise UsageError(f"{name}={amount:g} is a view of clips, and the input is {tensor}", f"leave {view} out")
        frames = tensor.shape[axes.time] if axes.time is not None else 1
        room = {
            "up": sides[0],
            "down": sides[0],
            "left": sides[1],
            "right": sides[1],
            "later": frames,
            "earlier": frames,
        }
        most = room.get(name, "free")
        if isinstance(most, int) and amount >= most:
            raise UsageError(f"{name}={amount:g} leaves nothing of the input {tensor}", f"leave {view} out")


def _together(infer: Infer, feeds: Sequence[Arrays], batch: int | None) -> list[dict[str, np.ndarray]]:
    """The outputs for each feed; those of one shape go to the network as one batch, cut where that is too large."""
    groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for i, feed in enumerate(feeds):
        groups.setdefault(tuple(a.shape for a in feed.values()), []).append(i)
    found: dict[int, dict[str, np.ndarray]] = {}
    for members in groups.values():
        count = len(next(iter(feeds[members[0]].values())))
        every = (
            {n: np.concatenate([feeds[i][n] for i in members]) for n in feeds[0]} if members[1:] else feeds[members[0]]
        )
        parts = list(_pieces(infer, every, count * len(members), batch))
        whole = {n: np.concatenate([p[n] for p in parts]) if parts[1:] else parts[0][n] for n in parts[0]}
        for place, i in enumerate(members):
            found[i] = {n: a[place * count : (place + 1) * count] for n, a in whole.items()}
    return [found[i] for i in range(len(feeds))]


def _pieces(infer: Infer, feed: Arrays, rows: int, batch: int | None) -> Iterator[Mapping[str, np.ndarray]]:
    size = batch or rows
    for start in range(0, rows, size):
        yield infer({n: a[start : start + size] for n, a in feed.items()})
