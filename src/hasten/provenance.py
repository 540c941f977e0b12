"""Where each ONNX node came from: every node keeps the name of the user's module through every pass.

The name stands in the node's metadata under `hasten.module`. Export puts it there; a file from elsewhere gets the
names that its exporter left. Library passes drop metadata, so the base of techniques carries them over each.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from hasten.model import EXIT, SAID

if TYPE_CHECKING:  # a bundle runs without the onnx package
    import onnx

MODULE = "hasten.module"
_DYNAMO = "pkg.torch.onnx.name_scopes"  # its record: ['', 'stages', 'stages.0', 'stages.0.conv1', 'conv2d_3']

_STEPS = 2  # from a tensor that is known to a new node: Q, then DQ


def nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Every node, those inside the branches of an If and the bodies of loops included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from nodes(inner)


def module_of(node: onnx.NodeProto) -> str | None:
    """The user's module that a node belongs to, or None where nobody has said."""
    return next((p.value for p in node.metadata_props if p.key == MODULE), None) or None


def label(proto: onnx.ModelProto, root: str = "") -> onnx.ModelProto:
    """A copy in which every node has a module name: the exporter's, else the node's own name, else its output's.

    Args:
        root: a module around the user's own, left out of the names.
    """
    named = type(proto)()
    named.CopyFrom(proto)
    weights = {w.name for w in named.graph.initializer}
    for node in nodes(named.graph):
        if module_of(node) is None:
            path = _dynamo(node, weights, root) or _torchscript(node, root) or node.name
            _set(node, path or next(filter(None, node.output), node.op_type))
    return named


def carry(before: onnx.ModelProto, after: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `after` in which every node has the name of a module of `before`.

    A node keeps its name where that module had such an operator. Else it is matched by its output, where the same
    operator gave it; then by its weight, since a folded neighbour leaves its own names behind; then it keeps what it
    has; then by any output, by its own name, by its inputs. New nodes (the Q and DQ of a quantizer, say) so take the
    name of the tensor they were made for, or else that of the nearest neighbour with one. What the file says of an
    exit and of its making stays.
    """
    named = type(after)()
    named.CopyFrom(after)
    old = [(n, str(module_of(n))) for n in nodes(label(before).graph)]
    same_output = {(n.op_type, t): m for n, m in old for t in n.output}
    same_weight = {(n.op_type, t): m for n, m in reversed(old) for t in n.input[1:] if t}
    names = {n.name: m for n, m in old if n.name}
    tensors = {t: m for n, m in reversed(old) for t in n.input if t} | {t: m for n, m in old for t in n.output if t}
    kinds, known = {(n.op_type, m) for n, m in old}, {m for _, m in old}
    for node in nodes(named.graph):
        has = module_of(node)
        if (node.op_type, has) not in kinds:
            _set(
                node,
                _first(same_output, ((node.op_type, t) for t in node.output))
                or _first(same_weight, ((node.op_type, t) for t in node.input[1:]))
                or (has if has in known else None)
                or _first(tensors, node.output)
                or names.get(node.name)
                or _first(tensors, node.input)
                or "",
            )
    _spread(list(nodes(named.graph)))
    lost = {EXIT, SAID} - {p.key for p in named.metadata_props}
    named.metadata_props.extend(p for p in before.metadata_props if p.key in lost)
    return named


def renamed(proto: onnx.ModelProto, other: Callable[[str], str]) -> onnx.ModelProto:
    """A copy with other names of modules, and of tensors between the ends of the graph."""
    made = type(proto)()
    made.CopyFrom(proto)
    graph = made.graph
    ends = {v.name for v in (*graph.input, *graph.output)}

    def inside(name: str) -> str:
        new = other(name)
        return name if name in ends or new in ends else new

    for node in nodes(graph):
        for prop in node.metadata_props:
            if prop.key == MODULE:
                prop.value = other(prop.value)
        for side in (node.input, node.output):
            side[:] = map(inside, side)
    for value in (*graph.initializer, *graph.value_info):
        value.name = inside(value.name)
    return made


def inherited(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which a nameless node has the name of the node that made its first input with one."""
    named = type(proto)()
    named.CopyFrom(proto)
    makers: dict[str, str] = {}
    for node in named.graph.node:  # in the order in which they run
        _set(node, module_of(node) or _first(makers, node.input) or "")
        makers |= {t: m for t in node.output if (m := module_of(node))}
    return named


def missing_names(before: onnx.ModelProto, after: onnx.ModelProto) -> list[str]:
    """Nodes of `after` whose module `before` does not know."""
    known = {module_of(n) for n in nodes(label(before).graph)}
    return [n.name or n.op_type for n in nodes(after.graph) if module_of(n) not in known]


def _spread(all_nodes: list[onnx.NodeProto]) -> None:
    """Give nodes that are still nameless the name of a neighbour. A few steps only: then names would lie."""
    for _ in range(_STEPS):
        nameless = [n for n in all_nodes if not module_of(n)]
        near = {t: m for n in all_nodes if (m := module_of(n)) for t in (*n.output, *n.input) if t}
        for node, name in [(n, _first(near, (*n.output, *n.input))) for n in nameless]:
            _set(node, name or "")


def _first(names: dict[Any, str], keys: Iterable[Any]) -> str | None:
    return next((names[k] for k in keys if k in names), None)


def _dynamo(node: onnx.NodeProto, weights: set[str], root: str) -> str | None:
    """From the record of the dynamo exporter; it gives a folded conv to its batch norm: the weight knows better."""
    said = next((p.value for p in node.metadata_props if p.key == _DYNAMO), None)
    try:
        *scopes, last = ast.literal_eval(said) if said else [""]
    except (ValueError, SyntaxError, TypeError):
        return None
    if not said:
        return None
    owner = next((t.rpartition(".")[0] for t in node.input if t in weights), "")
    if "batch_norm" in str(last) and owner:
        return owner
    path = next((str(s) for s in reversed(scopes) if s), "")
    return path.removeprefix(root).removeprefix(".") or str(last)


def _torchscript(node: onnx.NodeProto, root: str) -> str | None:
    """From the name that the older exporter gives: /stages/stages.0/conv1/Conv_1 is an operator of stages.0.conv1."""
    if not node.name.startswith("/"):
        return None
    *modules, operator = node.name.strip("/").split("/")
    path = ""
    for part in modules[1:] if modules[:1] == [root] else modules:
        inside = path.rpartition(".")[2]
        repeats = inside and part.startswith(f"{inside}.")
        path = (path.removesuffix(inside) + part) if repeats else ".".join(filter(None, (path, part)))
    return path or operator


def _set(node: onnx.NodeProto, name: str) -> None:
    for prop in node.metadata_props:
        if prop.key == MODULE:
            prop.value = name
            return
    node.metadata_props.add(key=MODULE, value=name)
