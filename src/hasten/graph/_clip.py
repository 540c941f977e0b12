"""A clip network in two: what is done to each frame, and what is done to the frames of a window together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hasten.errors import NotApplicable
from hasten.graph._frames import Layout, Place, crossing, layout, read
from hasten.model import OnnxModel
from hasten.provenance import MODULE, label, module_of

if TYPE_CHECKING:
    import onnx

_HEAVY = {
    "Conv",
    "ConvInteger",
    "ConvTranspose",
    "Einsum",
    "GRU",
    "Gemm",
    "LSTM",
    "MatMul",
    "MatMulInteger",
    "QLinearConv",
}
FEATURES = "features"  # name of what a frame stage hands over


@dataclass(frozen=True)
class Cut:
    """The two parts.

    Attributes:
        frame: frames [N, ...] -> features, one or several, [N, ...].
        window: features [N, frames, ...], and the network's other inputs -> its outputs.
        heavy: convolutions and matrix products in the part of a frame, and in the whole.
    """

    frame: OnnxModel
    window: OnnxModel
    heavy: tuple[int, int]


def cut(model: OnnxModel, clip: str, frames: int, values: np.ndarray) -> Cut:
    """Cut at the deepest tensors that mix no time.

    Args:
        clip: the input [N, frames, ...].
        values: typical ones of it.

    Raises:
        NotApplicable: time is mixed before anything heavy is done, or never; says where.
        InputError: a fixed batch of more than one.
    """
    named = OnnxModel(label(model.proto))
    found = layout(named, clip, frames, values)
    nodes = list(named.proto.graph.node)
    heavy = [sum(nodes[i].op_type in _HEAVY for i in part) for part in (found.apart, (*found.apart, *found.rest))]
    if found.first is None:
        raise NotApplicable(
            "the network never mixes the frames of a clip", "give that of a single frame, without a window"
        )
    if not heavy[0]:
        raise NotApplicable(
            f"the network mixes the frames of a clip, or tells them apart, at once: {said(nodes[found.first])} is the "
            "first node that does, and nothing heavy stands before it",
            "encode each frame by itself first, and mix the features",
        )
    return _Parts(named, clip, frames, found).cut((heavy[0], heavy[1]))


def said(node: "onnx.NodeProto") -> str:
    """A node as it is found again: its operator and its name, and the user's module."""
    return f"{node.op_type} {node.name or node.output[0]!r} of the module {module_of(node)!r}"


class _Parts:
    def __init__(self, model: OnnxModel, clip: str, frames: int, found: Layout) -> None:
        self.model, self.clip, self.frames, self.found = model, clip, frames, found
        self.graph = model.proto.graph
        self.handed = list(crossing(found, model))
        self.maker = {name: node for node in self.graph.node for name in node.output}
        taken = {name for node in self.graph.node for name in (*node.input, *node.output)}
        self.batch: int | str = model.signature.batch or 1
        self.names: dict[str, str] = {}
        for i, name in enumerate(self.handed):  # a name for what is handed over that nothing else has
            made = clip if name == clip else FEATURES if len(self.handed) == 1 else f"{FEATURES}.{i}"
            while made != clip and made in taken:
                made += "_"
            self.names[name] = made

    def cut(self, heavy: tuple[int, int]) -> Cut:
        return Cut(self._frame(), self._window(), heavy)

    # ---- the part of a frame: the same nodes on clips of a single frame

    def _frame(self) -> OnnxModel:
        import onnx
        from onnx import helper, numpy_helper

        one = f"{self.clip}.clip"
        first = self._noted(helper.make_node("Unsqueeze", [self.clip, "clip.axis"], [one]), self._reader())
        nodes, weights = [first], [numpy_helper.from_array(np.array([1], np.int64), "clip.axis")]
        for i in self.found.apart:
            node = onnx.NodeProto()
            node.CopyFrom(self.graph.node[i])
            place = self.found.places.get(node.output[0])
            if node.op_type == "Reshape" and place:
                node.input[1] = f"{node.output[0]}.shape"
                weights.append(numpy_helper.from_array(np.array(place.of_one_frame, np.int64), node.input[1]))
            node.input[:] = [one if name == self.clip else name for name in node.input]
            nodes.append(node)
        outputs = []
        for name in self.handed:
            if name == self.clip:
                continue
            place = self.found.places[name]
            nodes += self._taken_out(name, place, weights)
            outputs.append(helper.make_tensor_value_info(self.names[name], self._type(name), [self.batch, *place.rest]))
        clip = next(v for v in self.graph.input if v.name == self.clip)
        dims = self.found.places[self.clip].rest
        frame = helper.make_tensor_value_info(self.clip, clip.type.tensor_type.elem_type, [self.batch, *dims])
        return self._made(nodes, [frame], outputs, weights)

    def _taken_out(self, name: str, place: Place, weights: "list[onnx.TensorProto]") -> "list[onnx.NodeProto]":
        """From a tensor of clips of one frame to [N, ...]."""
        from onnx import helper, numpy_helper

        of = self.maker[name]
        if place.time == place.batch == 0:
            return [self._noted(helper.make_node("Identity", [name], [self.names[name]]), of)]
        front = dict.fromkeys((place.batch, place.time))
        order = [*front, *(i for i in range(len(place.shape)) if i not in front)]
        made = [helper.make_node("Transpose", [name], [f"{name}.front"], perm=order)]
        samples = -1 if place.free else 1
        weights.append(numpy_helper.from_array(np.array([samples, *place.rest], np.int64), f"{name}.rows"))
        made.append(helper.make_node("Reshape", [f"{name}.front", f"{name}.rows"], [self.names[name]]))
        return [self._noted(node, of) for node in made]

    # ---- the part of a window: what is left, from the features on

    def _window(self) -> OnnxModel:
        from onnx import helper

        weights: list[onnx.TensorProto] = []
        nodes: list[onnx.NodeProto] = []
        inputs = []
        for name in self.handed:
            place = self.found.places[name]
            shape = [self.batch, self.frames, *place.rest]
            inputs.append(helper.make_tensor_value_info(self.names[name], self._type(name), shape))
            if name != self.clip:
                nodes += self._put_back(name, place, weights)
        rest = [self.graph.node[i] for i in self.found.rest]
        nodes += self._stills([name for node in rest for name in read(node)], weights)
        nodes += rest
        known = {w.name for w in self.graph.initializer}
        others = [v for v in self.graph.input if v.name != self.clip and v.name not in known]
        return self._made(nodes, [*inputs, *others], list(self.graph.output), weights)

    def _put_back(self, name: str, place: Place, weights: "list[onnx.TensorProto]") -> "list[onnx.NodeProto]":
        """From features [N, frames, ...] to the tensor as the network has it."""
        from onnx import helper, numpy_helper

        of, handed, rank = self.maker[name], self.names[name], len(place.shape)
        others = [i for i in range(rank) if i not in (place.batch, place.time)]
        if place.batch != place.time:  # axes of the features: samples, frames, the others
            order = [[place.batch, place.time, *others].index(i) for i in range(rank)]
            return [self._noted(helper.make_node("Transpose", [handed], [name], perm=order), of)]
        dims = [-1 if place.free else self.frames, *place.rest]
        weights.append(numpy_helper.from_array(np.array(dims, np.int64), f"{name}.merged"))
        made = [helper.make_node("Reshape", [handed, f"{name}.merged"], [f"{name}.rows" if place.batch else name])]
        if place.batch:
            order = [*range(1, place.batch + 1), 0, *range(place.batch + 1, rank)]
            made.append(helper.make_node("Transpose", [f"{name}.rows"], [name], perm=order))
        return [self._noted(node, of) for node in made]

    def _stills(self, wanted: Sequence[str], weights: "list[onnx.TensorProto]") -> "list[onnx.NodeProto]":
        """What depends on the shape of the clip alone, and is read by what follows."""
        from onnx import numpy_helper

        made: list[onnx.NodeProto] = []
        done: set[str] = set()

        def give(name: str) -> None:
            if name in done or name not in self.found.still:
                return
            done.add(name)
            two, three = self.found.still[name]
            if two.shape == three.shape and np.array_equal(two, three):
                weights.append(numpy_helper.from_array(two, name))
            elif self.found.places.keys().isdisjoint(read(self.maker[name])):  # made of shapes alone: as it stands
                for other in read(self.maker[name]):
                    give(other)
                done.update(self.maker[name].output)
                made.append(self.maker[name])
            else:
                made.extend(self._counted(name, two, three, weights))

        for name in wanted:
            give(name)
        return made

    def _counted(
        self, name: str, two: np.ndarray, three: np.ndarray, weights: "list[onnx.TensorProto]"
    ) -> "list[onnx.NodeProto]":
        """A shape of the clip, which grows with the number of samples."""
        from onnx import helper, numpy_helper

        slope = three - two
        for part, value in ((".slope", slope), (".offset", two - 2 * slope)):
            weights.append(numpy_helper.from_array(value, name + part))
        nodes = [
            helper.make_node("Shape", [self.names[self.handed[0]]], [f"{name}.samples"], start=0, end=1),
            helper.make_node("Squeeze", [f"{name}.samples"], [f"{name}.count"]),
            helper.make_node("Mul", [f"{name}.count", f"{name}.slope"], [f"{name}.grown"]),
            helper.make_node("Add", [f"{name}.grown", f"{name}.offset"], [name]),
        ]
        return [self._noted(node, self.maker[name]) for node in nodes]

    # ---- both

    def _made(
        self, nodes: "list[onnx.NodeProto]", inputs: Any, outputs: Any, weights: "list[onnx.TensorProto]"
    ) -> OnnxModel:
        import onnx

        made = onnx.ModelProto()
        made.CopyFrom(self.model.proto)
        made.ClearField("graph")
        graph = made.graph
        graph.name = self.graph.name
        given = {name for node in nodes for name in node.output} | {w.name for w in weights}
        graph.node.extend([*(self.graph.node[i] for i in sorted(self._behind(nodes, given))), *nodes])
        taken = {name for node in graph.node for name in read(node)}
        made_here = {w.name for w in weights}
        graph.initializer.extend(w for w in self.graph.initializer if w.name in taken - made_here)
        graph.initializer.extend(weights)
        graph.input.extend(v for v in inputs if v.name in taken or v.name in self.names.values())
        graph.output.extend(outputs)
        onnx.checker.check_model(made)
        return OnnxModel(made)

    def _behind(self, nodes: "list[onnx.NodeProto]", given: set[str]) -> set[int]:
        """Nodes behind what these read and nobody gives: what does not depend on the clip."""
        fed = set(self.found.apart) | set(self.found.rest)
        number = {name: i for i, node in enumerate(self.graph.node) for name in node.output if i not in fed}
        found: set[int] = set()
        todo = [name for node in nodes for name in read(node)]
        while todo:
            name = todo.pop()
            if name in given or name not in number or number[name] in found:
                continue
            found.add(number[name])
            todo += read(self.graph.node[number[name]])
        return found

    def _reader(self) -> "onnx.NodeProto":
        found: onnx.NodeProto = next(node for node in self.graph.node if self.clip in read(node))
        return found

    def _type(self, name: str) -> int:
        from onnx import helper

        return int(helper.np_dtype_to_tensor_dtype(self.found.places[name].dtype))

    def _noted(self, node: "onnx.NodeProto", of: "onnx.NodeProto") -> "onnx.NodeProto":
        """A new node, of the module of another."""
        node.name = node.output[0]
        node.metadata_props.add(key=MODULE, value=module_of(of) or "")
        return node
