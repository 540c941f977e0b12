"""Names in a graph: each tensor is made once, before it is used, and there are no cycles.

OpenVINO runs graphs that break each of these without a word.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from onnx import ModelProto, NodeProto

from hasten.diagnose.walk import bodies
from hasten.errors import InputError

AGAIN = "export it again"


def names(model: ModelProto) -> None:
    """Each tensor is made once, before it is used, and there are no cycles."""
    _names(
        model.graph.node,
        {v.name for v in model.graph.input} | {w.name for w in model.graph.initializer},
        [o.name for o in model.graph.output],
        frozenset(),
    )
    for function in model.functions:
        _names(function.node, set(function.input), list(function.output), frozenset())


def _names(inside: Iterable[NodeProto], given: set[str], wanted: list[str], outer: frozenset[str]) -> None:
    made_by = Counter(o for n in inside for o in n.output if o)
    if twice := next((name for name, count in made_by.items() if count > 1 or name in given), None):
        raise InputError(f"makes the tensor {twice!r} twice", f"each may be made once: {AGAIN}")
    known = set(given)
    for node in inside:
        scope = outer | known if node.attribute and bodies(node) else frozenset()
        for body in bodies(node):
            _names(
                body.node,
                {v.name for v in body.input} | {w.name for w in body.initializer},
                [o.name for o in body.output],
                scope,
            )
        for name in node.input:
            if name and name not in known and name not in outer:
                raise _undefined(name, node, made_by, inside)
        known.update(node.output)
    if lost := [o for o in wanted if o not in known and o not in outer]:
        raise InputError(f"promises the output {lost[0]!r}, which no node makes", AGAIN)


def _undefined(name: str, node: NodeProto, made_by: Mapping[str, int], inside: Iterable[NodeProto]) -> InputError:
    what = f"{node.op_type} {node.name!r} " if node.name else f"{node.op_type} "
    if name not in made_by:
        return InputError(f"uses {name!r} in {what.strip()}, which nothing makes", AGAIN)
    if _cyclic(inside):
        return InputError(f"has a cycle through {name!r}", f"a graph may not feed itself: {AGAIN}")
    return InputError(f"uses {name!r} in {what.strip()} before it is made", "sort its nodes, or " + AGAIN)


def _cyclic(inside: Iterable[NodeProto]) -> bool:
    """Kahn 1962: what is left when nodes that wait for nobody are taken away, again and again."""
    maker = {o: i for i, n in enumerate(inside) for o in n.output if o}
    needs = {i: {maker[x] for x in n.input if x in maker} for i, n in enumerate(inside)}
    feeds: dict[int, list[int]] = {i: [] for i in needs}
    for i, sources in needs.items():
        for source in sources:
            feeds[source].append(i)
    waits = {i: len(sources) for i, sources in needs.items()}
    ready, done = [i for i, count in waits.items() if not count], 0
    while ready:
        done += 1
        for i in feeds[ready.pop()]:
            waits[i] -= 1
            if not waits[i]:
                ready.append(i)
    return done < len(needs)
