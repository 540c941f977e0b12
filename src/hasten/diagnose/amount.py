"""How much work a graph is: nodes with functions expanded, rows of nodes, turns of loops; bounded without running.

A function that calls another twice, thirty deep, is a billion nodes in a kilobyte; a loop of 2^60 turns is one number.
"""

import math
from collections.abc import Iterable, Mapping

from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from hasten.diagnose.walk import bodies, graphs
from hasten.errors import InputError

MAX_NODES = (
    10_000  # functions expanded. Real networks have up to 6,000; 5,000 Adds in a row cost OpenVINO 18 s, growing as n²
)
MAX_CHAIN = 1_000  # elementwise nodes in a row: OpenVINO's fusion of them is worse than n² (1,000: 3 s, 2,000: 24 s)
MAX_STEPS = 10_000_000  # node executions in loops of constant length; at 1 µs the least, this is 10 s
_ELEMENTWISE = frozenset(
    (
        "Abs",
        "Add",
        "Ceil",
        "Clip",
        "Cos",
        "Div",
        "Elu",
        "Erf",
        "Exp",
        "Floor",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "LeakyRelu",
        "Log",
        "Max",
        "Min",
        "Mish",
        "Mul",
        "Neg",
        "Pow",
        "Reciprocal",
        "Relu",
        "Round",
        "Selu",
        "Sigmoid",
        "Sign",
        "Sin",
        "Softplus",
        "Softsign",
        "Sqrt",
        "Sub",
        "Tanh",
    )
)


def amount(model: ModelProto) -> None:
    """Nodes with functions expanded, and node executions in loops of constant length; functions may not recurse."""
    functions = {(f.domain, f.name): f for f in model.functions}
    known: dict[tuple[str, str], tuple[int, int]] = {}
    callers: list[tuple[str, str]] = []

    def of(node: NodeProto, constants: Mapping[str, int]) -> tuple[int, int]:
        key = (node.domain, node.op_type)
        if key in functions:
            return called(key)
        size, steps = 1, 1
        for body in bodies(node):
            inner, each = total(body.node, {**constants, **_constants(body.initializer, body.node)})
            size, steps = size + inner, steps + each * (_trips(node, body, constants) if node.op_type == "Loop" else 1)
        return size, steps

    def called(key: tuple[str, str]) -> tuple[int, int]:
        if key in callers:
            raise InputError(f"has a function {key[1]!r} that calls itself", "export it again")
        if key not in known:
            callers.append(key)
            known[key] = total(functions[key].node, _constants((), functions[key].node))
            callers.pop()
        return known[key]

    def total(inside: Iterable[NodeProto], constants: Mapping[str, int]) -> tuple[int, int]:
        each = [of(n, constants) for n in inside]
        return sum(size for size, _ in each), sum(steps for _, steps in each)

    size, steps = total(model.graph.node, _constants(model.graph.initializer, model.graph.node))
    if size > MAX_NODES:
        raise InputError(f"has {size} nodes", f"{MAX_NODES} is the most: export it with loops rolled up, or in parts")
    if steps > MAX_STEPS:
        raise InputError(f"runs its nodes {steps} times in loops", f"{MAX_STEPS} is the most: shorten its loops")


def _trips(node: NodeProto, body: GraphProto, constants: Mapping[str, int]) -> int:
    """How often a Loop surely turns: its constant count where nothing ends it sooner; 1 where only running tells."""
    count = constants.get(node.input[0], 1) if node.input and node.input[0] else 2**63
    maker = {o: n for n in body.node for o in n.output}
    name = body.output[0].name if body.output else ""
    while name in maker and maker[name].op_type in ("Identity", "Cast") and maker[name].input:
        name = maker[name].input[0]
    endless = (name in maker and maker[name].op_type == "Constant") or name in {v.name for v in body.input[1:2]}
    endless = endless or name in {w.name for w in body.initializer}
    return max(1, count) if endless else 1


def _constants(initializers: Iterable[TensorProto], inside: Iterable[NodeProto]) -> dict[str, int]:
    """Single whole numbers by name, as loop counts are."""
    tensors = [(w.name, w) for w in initializers]
    tensors += [
        (n.output[0], a.t)
        for n in inside
        if n.op_type == "Constant" and n.output
        for a in n.attribute
        if a.name == "value"
    ]
    single = {name: t for name, t in tensors if t.data_type == TensorProto.INT64 and math.prod(t.dims) == 1}
    return {
        name: int(t.int64_data[0]) if t.int64_data else int.from_bytes(t.raw_data[:8], "little", signed=True)
        for name, t in single.items()
    }


def chains(model: ModelProto) -> None:
    """No endless rows of elementwise nodes."""
    for graph, _ in graphs(model):
        length: dict[str, int] = {}
        for node in graph.node:
            if node.op_type in _ELEMENTWISE:
                row = 1 + max((length.get(i, 0) for i in node.input), default=0)
                length.update(dict.fromkeys(node.output, row))
        if length and max(length.values()) > MAX_CHAIN:
            raise InputError(
                f"has {max(length.values())} elementwise nodes in a row",
                f"{MAX_CHAIN} is the most: simplify it before export",
            )
