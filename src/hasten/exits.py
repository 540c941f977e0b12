"""A network with an exit: one graph that holds a quick answer and the whole one, and the two stages it is cut into.

The graph ends in `Where(sure, quick, whole)`. As one file it is a model like any other, right on every engine, for
which both answers are computed; its metadata say from which score on the quick one is sure. Cut there it is two stages:
a first that answers, and the rest, which runs `unless` the first is sure and begins with the tensors that the first
hands over. Where to cut is read from the graph, so that passes which rename, fuse or quantize need not know of it.
"""

import json
from collections.abc import Iterable, Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from hasten.engine import Engine
from hasten.errors import InputError, NotApplicable
from hasten.metric import Metric
from hasten.model import EXIT, OnnxModel
from hasten.stage import Stage, Unless

if TYPE_CHECKING:
    import onnx

FIRST, REST = "first", "rest"  # names of the stages
_THROUGH = {"Identity", "Cast", "QuantizeLinear", "DequantizeLinear"}  # may stand behind the choice
_HEAVY = {"Conv", "ConvTranspose", "Einsum", "GRU", "Gemm", "LSTM", "MatMul", "MatMulNBits", "RNN"}  # never done twice
ROUNDED = 1e-9  # what a sum of rows may be off by
_TRIED = 400  # numbers of samples that leave, at even distances
_ROWS = {1, 2, 3, 10, 11, 16}  # element types that are handed over: f32, u8, i8, f16, f64, bf16


@dataclass(frozen=True)
class Exit:
    """From where on the quick answer is sure: its best score, after the activation, is at least the threshold."""

    threshold: float
    activation: Literal["none", "softmax", "sigmoid"] = "softmax"

    @classmethod
    def of(cls, proto: "onnx.ModelProto") -> "Exit | None":
        """That of a file; None where it has none.

        Raises:
            InputError: what the metadata say is no exit.
        """
        said = next((p.value for p in proto.metadata_props if p.key == EXIT), None)
        if said is None:
            return None
        try:
            found = cls(**json.loads(said))
            if isinstance(found.threshold, float) and found.activation in ("none", "softmax", "sigmoid"):
                return found
        except (ValueError, TypeError):
            pass
        raise InputError(f"the file's {EXIT} is {said[:80]!r}, which is no exit", "export it again")


def marked(model: OnnxModel, at: Exit) -> OnnxModel:
    """The same graph, which ends in the choice, with the mark of its exit."""
    return model.noted(EXIT, json.dumps(asdict(at)))


def stages(model: OnnxModel, engine: Engine, folder: Path) -> list[Stage]:
    """Of a model with an exit its two stages, whose files are put into `folder`; of any other the model itself.

    Raises:
        InputError: it cannot be cut; says why.
    """
    at = Exit.of(model.proto)
    if at is None:
        assert model.path is not None
        return [Stage.of(model.path, engine)]
    first, rest = cut(model)
    judged = Unless(model.signature.outputs[0].name, at.activation, at.threshold)
    parts = ((FIRST, first, None), (REST, rest, judged))
    return [
        Stage(name, folder / f"{name}.onnx", engine.in_turns(), part.save(folder / f"{name}.onnx").signature,
              "unless" if unless else "always", unless)
        for name, part, unless in parts
    ]  # fmt: skip


def lowest_threshold(
    sure: np.ndarray, quick: np.ndarray, whole: np.ndarray, metric: Metric, max_drop: float
) -> tuple[float, float]:
    """From which score on a quick answer may stand: as many leave early as lose no more than `max_drop` in all.

    Args:
        sure: scores of the quick answers [N].
        quick, whole: the metric's rows of both answers, sample by sample.

    Returns:
        The threshold, between the scores of two samples, so that none stands on it, and the share that leaves; 1 and 0
        where none may.
    """
    order = np.argsort(-sure, kind="stable")
    before = metric.total(whole)
    counts = np.unique(np.linspace(0, len(order), min(len(order), _TRIED) + 1).astype(int))[:0:-1]
    for count in counts:  # most of them first
        low = float(sure[order[count]]) if count < len(order) else 0.0
        edge = (float(sure[order[count - 1]]) + low) / 2
        mixed = whole.copy()
        mixed[sure >= edge] = quick[sure >= edge]
        if metric.drop(before, metric.total(mixed)) <= max_drop + ROUNDED:
            return edge, float((sure >= edge).mean())
    return 1.0, 0.0


def macs(model: OnnxModel, early_share: float = 0.0) -> int:
    """Multiply-adds for one sample; on the average, where that share leaves at the exit."""
    from hasten.measure.flops import count

    if Exit.of(model.proto) is None:
        return count(model).macs
    first, rest = (count(part).macs for part in cut(model))
    return round(first + (1 - early_share) * rest)


def cut(model: OnnxModel) -> tuple[OnnxModel, OnnxModel]:
    """What gives the quick answer, and what goes on from there to the whole one, under the same name.

    Raises:
        NotApplicable: the graph does not end in the choice, or the tensors between the two are not a row a sample.
    """
    graph = _Graph(model)
    answer = model.signature.outputs[0].name
    tail, choice = graph.choice(answer)
    quick, whole = choice.input[1:3]
    first, _ = graph.behind([quick])
    rest, handed = graph.behind([whole], first)
    if not handed:
        raise NotApplicable("the whole answer has nothing in common with the quick one: there is nothing to hand over")
    return (
        graph.part(first, [_chosen(choice, quick), *tail], [answer, *handed]),
        graph.part(rest, [_chosen(choice, whole), *tail], [answer], handed),
    )


def _chosen(choice: "onnx.NodeProto", name: str) -> "onnx.NodeProto":
    """What stands in the place of the choice where there is none."""
    import onnx

    node = onnx.helper.make_node("Identity", [name], choice.output, name=choice.name)
    node.metadata_props.extend(choice.metadata_props)
    return node


class _Graph:
    """A graph by its tensors, with their shapes."""

    def __init__(self, model: OnnxModel) -> None:
        import onnx

        self.proto = onnx.shape_inference.infer_shapes(model.proto)
        graph = self.proto.graph
        self.nodes = list(graph.node)
        self.maker = {name: i for i, node in enumerate(self.nodes) for name in node.output if name}
        self.values = {v.name: v for v in (*graph.value_info, *graph.input, *graph.output)}
        self.weights = {w.name: w for w in graph.initializer}
        self.inputs = [v for v in graph.input if v.name not in self.weights]
        self.batch = model.signature.batch or model.signature.fixed_batch
        self.fed = {v.name for v in self.inputs}
        for node in self.nodes:  # in the order in which they run
            if not self.fed.isdisjoint(_taken(node)):
                self.fed |= set(node.output)

    def choice(self, answer: str) -> "tuple[list[onnx.NodeProto], onnx.NodeProto]":
        """The choice between two answers, and the nodes behind it, first the one that runs first."""
        tail: list[onnx.NodeProto] = []
        while answer in self.maker:
            node = self.nodes[self.maker[answer]]
            if node.op_type == "Where":
                return tail[::-1], node
            if node.op_type not in _THROUGH:
                break
            tail.append(node)
            answer = node.input[0]
        raise NotApplicable(f"the graph is said to have an exit, and {answer!r} is not chosen from two answers")

    def behind(self, wanted: Iterable[str], done: Set[int] = frozenset()) -> tuple[set[int], list[str]]:
        """Nodes that these tensors are made by, as far as they are not `done`; and what is taken over from those.

        What is cheap and no row a sample is made again: weights, shapes, the floats behind a DQ.
        """
        found: set[int] = set()
        handed: dict[str, None] = {}
        todo = list(wanted)
        while todo:
            name = todo.pop()
            place = self.maker.get(name)
            if place is None or place in found:
                continue
            node = self.nodes[place]
            if place in done and name in self.fed:
                if node.op_type != "DequantizeLinear" and self._is_rows(name):
                    handed[name] = None
                    continue
                if node.op_type in _HEAVY:
                    raise NotApplicable(f"{name!r} is wanted by the quick answer and the rest, and is no row a sample")
            found.add(place)
            todo += _taken(node)
        return found, sorted(handed, key=self.maker.__getitem__)

    def _is_rows(self, name: str) -> bool:
        """Whether the tensor has something for each sample, in the order of the samples."""
        kind = self.values[name].type.tensor_type if name in self.values else None
        if kind is None or kind.elem_type not in _ROWS or len(kind.shape.dim) < 2:
            return False
        front = kind.shape.dim[0]
        return bool((front.dim_param or front.dim_value) == self.batch)

    def part(
        self, places: set[int], last: "Sequence[onnx.NodeProto]", outputs: Sequence[str], handed: Sequence[str] = ()
    ) -> OnnxModel:
        """A model of these nodes and the `last`, which takes what it needs of the inputs and what is handed to it."""
        import onnx

        made = type(self.proto)()
        made.CopyFrom(self.proto)
        made.ClearField("graph")
        kept = [p for p in self.proto.metadata_props if p.key != EXIT]
        del made.metadata_props[:]
        made.metadata_props.extend(kept)
        graph = made.graph
        graph.name = self.proto.graph.name
        graph.node.extend([*(self.nodes[i] for i in sorted(places)), *last])
        taken, given = ({name for node in graph.node for name in side(node)} for side in (_taken, lambda n: n.output))
        graph.initializer.extend(w for name, w in self.weights.items() if name in taken)
        graph.input.extend([*(v for v in self.inputs if v.name in taken), *(self.values[name] for name in handed)])
        graph.output.extend(self.values[name] for name in outputs)
        graph.value_info.extend(v for name, v in self.values.items() if name in given - {*outputs, *handed})
        onnx.checker.check_model(made)
        return OnnxModel(made)


def _taken(node: "onnx.NodeProto") -> list[str]:
    """What a node reads, also inside branches and bodies."""
    found = [name for name in node.input if name]
    for attribute in node.attribute:
        for inner in (attribute.g, *attribute.graphs):
            found += [name for each in inner.node for name in _taken(each)]
    return found
