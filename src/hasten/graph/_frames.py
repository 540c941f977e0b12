"""Where in each tensor of a clip network the frames lie, and which node is the first to mix them: found by trying.

The graph is run on clips that differ in one frame. A tensor keeps time apart if what changes in it is, for every frame,
that frame's own part; and if frames that change places change it so too, since a place that is told apart (by an
embedding of places, say) makes no function of a frame alone. No list of operators is needed, and none can be forgotten.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hasten.errors import InputError
from hasten.model import Arrays, OnnxModel

if TYPE_CHECKING:
    import onnx

_TRIED = 16  # frames that are changed, one at a time
_SHAPES = {"Shape", "Size"}
_NEAR = 1e-3  # of the largest magnitude: what the order of a sum may do


@dataclass(frozen=True)
class Place:
    """Where a tensor has its frames: on an axis of their own, or behind each other on that of the samples."""

    time: int  # axis
    batch: int  # axis of the samples; the same as `time` where the two are one, sample by sample
    shape: tuple[int, ...]  # with two samples, or the one that there is
    dtype: "np.dtype[Any]"
    free: bool  # whether the number of samples is

    @property
    def rest(self) -> tuple[int, ...]:
        """The shape of one frame's part."""
        return tuple(n for i, n in enumerate(self.shape) if i not in (self.time, self.batch))

    @property
    def of_one_frame(self) -> list[int]:
        """The shape of the tensor where a clip has a single frame; -1 for a free number of samples."""
        samples = -1 if self.free else 1
        return [samples if i == self.batch else 1 if i == self.time else n for i, n in enumerate(self.shape)]


@dataclass(frozen=True)
class Layout:
    """What was found out.

    Attributes:
        places: of the tensors that keep time apart, the clip itself among them.
        still: tensors that depend on the shape of the clip alone -> their values with 2 and with 3 samples.
        apart: nodes that keep time apart, by their number; `rest`: those that come after, and read what mixes time.
        first: the first node that mixes time, or tells one place in it from another; None where none does.
    """

    places: Mapping[str, Place]
    still: Mapping[str, tuple[np.ndarray, np.ndarray]]
    apart: tuple[int, ...]
    rest: tuple[int, ...]
    first: int | None


def layout(model: OnnxModel, clip: str, frames: int, values: np.ndarray) -> Layout:
    """
    Args:
        clip: the input [N, frames, ...]; the batch is free, or 1.
        values: typical ones of the clip, of any shape; what the graph is run on is drawn from them.

    Raises:
        InputError: a fixed batch of more than one.
    """
    if model.signature.batch is None and model.signature.fixed_batch != 1:
        raise InputError(
            f"a call takes {model.signature.fixed_batch} clips", "export the network for one, or for any number"
        )
    nodes = list(model.proto.graph.node)
    depending = _made_of(nodes, [clip])
    fed = [i for i, node in enumerate(nodes) if not depending.isdisjoint(node.output)]
    made = [name for i in fed for name in nodes[i].output if name]
    seen = _Seen(model, clip, frames, values, made)
    places, still = seen.places(), seen.still()
    mixed = _made_of(nodes, [t.name for t in model.signature.inputs if t.name != clip])  # what other inputs bring in
    apart, rest, first = [], [], None
    for i in fed:
        node = nodes[i]
        taken = read(node)
        outputs = [name for name in node.output if name]
        of_shapes = node.op_type in _SHAPES or places.keys().isdisjoint(taken)
        known = places.keys() | (still.keys() if of_shapes else set())
        if mixed.isdisjoint(taken) and known.issuperset(outputs):
            apart.append(i)
        else:
            if first is None:
                first = i
            mixed |= set(outputs)
            rest.append(i)
    kept = {name for i in apart for name in nodes[i].output} | {clip}
    return Layout(
        {n: p for n, p in places.items() if n in kept},
        {n: v for n, v in still.items() if n in kept},
        tuple(apart),
        tuple(rest),
        first,
    )


def read(node: "onnx.NodeProto") -> list[str]:
    """What a node reads, also inside branches and bodies."""
    found = [name for name in node.input if name]
    for attribute in node.attribute:
        for inner in (attribute.g, *attribute.graphs):
            found += [name for each in inner.node for name in read(each)]
    return found


def _made_of(nodes: "list[onnx.NodeProto]", inputs: list[str]) -> set[str]:
    """Inputs, and all tensors that depend on them, if only on their shapes."""
    known = set(inputs)
    for node in nodes:
        if not known.isdisjoint(read(node)):
            known |= {name for name in node.output if name}
    return known


class _Seen:
    """What the tensors hold for a clip, for others that differ in one frame, and for one sample more."""

    def __init__(self, model: OnnxModel, clip: str, frames: int, values: np.ndarray, names: list[str]) -> None:
        self._run = _Runner(model.proto, names)
        self._model, self._clip, self._frames, self._values = model, clip, frames, values.reshape(-1)
        self._rng = np.random.default_rng(0)
        self.samples = 2 if model.signature.batch else 1
        self._base = self._feed(self.samples)
        self._before = self._run(self._base) | {clip: self._base[clip]}
        larger = self._feed(self.samples + 1) if model.signature.batch else self._base
        self._larger = self._run(larger) | {clip: larger[clip]}
        tried = sorted({int(i) for i in np.linspace(0, frames - 1, min(frames, _TRIED))})
        self._changes = [(frame, self._changed(frame)) for frame in tried]
        rolled = np.roll(self._base[clip], 1, axis=1)
        self._rolled = self._run({**self._base, clip: rolled}) | {clip: rolled}

    def places(self) -> dict[str, Place]:
        """Those of the tensors that keep time apart."""
        found = ((name, self._place(name)) for name in self._before)
        return {name: place for name, place in found if place}

    def still(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """The values of those that nothing changes but the number of samples."""
        return {
            name: (array, self._larger[name])
            for name, array in self._before.items()
            if name != self._clip and not any(changed[name].any() for _, changed in self._changes)
        }

    def _place(self, name: str) -> Place | None:
        shape, more = self._before[name].shape, self._larger[name].shape
        free = self.samples > 1
        if free:
            grown = [i for i, (a, b) in enumerate(zip(shape, more, strict=True)) if a != b]
            if len(grown) != 1:
                return None
            batch = grown[0]
        else:
            batch = 0
        for time in range(len(shape)):
            merged = time == batch
            if shape[time] != self._frames * (self.samples if merged else 1):
                continue
            if not merged and shape[batch] != self.samples:
                continue
            start = (self.samples - 1) * self._frames if merged else 0  # it is in the last sample that a frame changes
            found = [(self._along(changed[name], time), start + frame) for frame, changed in self._changes]
            apart = any(along for along, _ in found) and all(along in ([], [place]) for along, place in found)
            if apart and self._follows(name, time, merged):
                return Place(time, batch, shape, self._before[name].dtype, free)
        return None

    def _follows(self, name: str, time: int, merged: bool) -> bool:
        """Whether the frames of the tensor change places with those of the clip."""
        before, after = (np.moveaxis(seen[name], time, 0) for seen in (self._before, self._rolled))
        if merged:
            before, after = (
                a.reshape(self.samples, self._frames, *a.shape[1:]).swapaxes(0, 1) for a in (before, after)
            )
        if before.dtype.kind != "f":
            return bool(np.array_equal(np.roll(before, 1, axis=0), after))
        near = _NEAR * np.abs(before).max(initial=0.0)
        return bool(np.allclose(np.roll(before, 1, axis=0), after, rtol=0, atol=near))

    @staticmethod
    def _along(changed: np.ndarray, axis: int) -> list[int]:
        """Where on an axis something has changed."""
        return [int(i) for i in np.flatnonzero(changed.any(axis=tuple(i for i in range(changed.ndim) if i != axis)))]

    def _changed(self, frame: int) -> dict[str, np.ndarray]:
        other = self._base[self._clip].copy()
        other[-1, frame] = self._drawn(other[-1, frame].shape)
        after = self._run({**self._base, self._clip: other}) | {self._clip: other}
        return {name: _differ(array, after[name]) for name, array in self._before.items()}

    def _feed(self, samples: int) -> dict[str, np.ndarray]:
        feed = {}
        for tensor in self._model.signature.inputs:
            shape = (samples, *(self._frames if isinstance(n, str) else n for n in tensor.shape[1:]))
            feed[tensor.name] = self._drawn(shape) if tensor.name == self._clip else np.ones(shape, tensor.dtype)
        return feed

    def _drawn(self, shape: tuple[int, ...]) -> np.ndarray:
        return np.asarray(self._rng.choice(self._values, shape))


def _differ(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.shape != b.shape:
        return np.ones(a.shape, bool)
    return np.asarray((a != b) & ~((a != a) & (b != b)))  # NaN is like NaN


class _Runner:
    """A graph of which every tensor is an output, as it stands: nothing is fused."""

    def __init__(self, proto: "onnx.ModelProto", names: list[str]) -> None:
        import onnx
        import onnxruntime

        wider = onnx.ModelProto()
        wider.CopyFrom(proto)
        known = {o.name for o in wider.graph.output}
        wider.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 3, 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = onnxruntime.InferenceSession(
            wider.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._names = names

    def __call__(self, feed: Arrays) -> dict[str, np.ndarray]:
        return dict(zip(self._names, map(np.asarray, self._session.run(self._names, dict(feed))), strict=True))


def crossing(found: Layout, model: OnnxModel) -> Iterator[str]:
    """The tensors that keep time apart and are read by what mixes it, or are answers: each once, in order."""
    nodes = model.proto.graph.node
    wanted = {name for i in found.rest for name in read(nodes[i])} | {o.name for o in model.proto.graph.output}
    return (name for name in found.places if name in wanted)
