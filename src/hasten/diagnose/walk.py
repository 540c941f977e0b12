"""Walks over an ONNX model: every graph, node and body, however deep, without recursion."""

from collections.abc import Iterator

from onnx import GraphProto, ModelProto, NodeProto


def bodies(node: NodeProto) -> list[GraphProto]:
    """The graphs inside a node: branches of If, the body of Loop and Scan."""
    return [g for a in node.attribute for g in ([a.g] if a.HasField("g") else []) + list(a.graphs)]


def graphs(model: ModelProto) -> Iterator[tuple[GraphProto, int]]:
    """Every graph with its depth; the main graph is at 0. The bodies inside functions are at 1 and below."""
    waiting = [(model.graph, 0)] + [(b, 1) for f in model.functions for n in f.node for b in bodies(n)]
    while waiting:
        graph, depth = waiting.pop()
        yield graph, depth
        waiting += [(b, depth + 1) for n in graph.node for b in bodies(n)]


def nodes(model: ModelProto) -> Iterator[NodeProto]:
    """Every node, in whatever graph or function it stands."""
    for graph, _ in graphs(model):
        yield from graph.node
    for function in model.functions:
        yield from function.node
