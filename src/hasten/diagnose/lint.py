"""What may not stand in a graph, whoever wrote it: our own rules, beyond onnx.checker's. Pure Python, nothing is run.

Every rule takes the whole model and raises InputError with one sentence. None follows a pointer that the file could have
bent: names are looked up, recursion is counted, and products are Python integers, which do not overflow.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from hasten.errors import InputError

MAX_NODES = 10_000  # functions expanded; real networks have up to 6,000, OpenVINO needs 18 s for 5,000 Adds in a row, and n² from there
MAX_CHAIN = 1_000  # elementwise nodes in a row: OpenVINO's fusion of them is worse than n² (1,000: 3 s, 2,000: 24 s)
MAX_NESTING = 8  # graphs in graphs; OpenVINO's time doubles with each (16: 1 s, 24: minutes), real networks have up to 3
MAX_STEPS = 10_000_000  # node executions in loops of constant length; at 1 µs the least, this is 10 s
AGAIN = "export it again"

STANDARD = ("", "ai.onnx", "ai.onnx.ml")
OTHERS = ("com.microsoft", "ai.onnx.preview.training")  # known to ONNX Runtime, which judges them itself
_ELEMENTWISE = frozenset((
    "Abs", "Add", "Ceil", "Clip", "Cos", "Div", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu",
    "Log", "Max", "Min", "Mish", "Mul", "Neg", "Pow", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softplus",
    "Softsign", "Sqrt", "Sub", "Tanh",
))


def check(model: ModelProto) -> None:
    """Every rule in turn.

    Raises:
        InputError: the first that is broken.
    """
    for rule in (versions, nesting, interface, operators, names, amount, chains):
        rule(model)


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


def versions(model: ModelProto) -> None:
    """IR and opset numbers that the installed onnx knows; onnx.checker passes opset 999."""
    if not 1 <= model.ir_version <= onnx.IR_VERSION:
        raise InputError(f"has IR version {model.ir_version}", f"versions 1 to {onnx.IR_VERSION} are known: {AGAIN}")
    if len({_domain(o.domain) for o in model.opset_import}) < len(model.opset_import):
        raise InputError("imports the same operator set twice", AGAIN)
    known = {"": onnx.defs.onnx_opset_version(), "ai.onnx.ml": onnx.defs.onnx_ml_opset_version()}
    imported = {_domain(o.domain): o.version for o in model.opset_import}
    if "" not in imported:
        raise InputError("does not say which opset it uses", AGAIN)
    for domain, version in imported.items():
        if domain in known and not 1 <= version <= known[domain]:
            raise InputError(f"has opset {version}{f' of {domain}' if domain else ''}", f"1 to {known[domain]} are known: {AGAIN} with one of these")


def nesting(model: ModelProto) -> None:
    """Graphs inside graphs only so deep."""
    deepest = max(depth for _, depth in graphs(model))
    if deepest > MAX_NESTING:
        raise InputError(f"has graphs nested {deepest} deep", f"{MAX_NESTING} is the most: flatten its If and Loop nodes")


def interface(model: ModelProto) -> None:
    """Inputs and outputs: some, named once, tensors of numbers, no two weights of one name."""
    graph = model.graph
    for graph_in, _ in graphs(model):
        if graph_in.sparse_initializer:
            raise InputError(f"stores the weight {graph_in.sparse_initializer[0].values.name!r} sparsely", "store it dense")
        if twice := _twice(w.name for w in graph_in.initializer):
            raise InputError(f"has two weights called {twice!r}", "give each its own name")
    weights = {w.name for w in graph.initializer}
    inputs = [v for v in graph.input if v.name not in weights]
    for side, values in (("input", inputs), ("output", graph.output)):
        if not values:
            raise InputError(f"has no {side}s", f"{AGAIN} with at least one")
        if twice := _twice(v.name for v in values):
            raise InputError(f"has two {side}s called {twice!r}", "give each its own name")
        for value in values:
            kind = value.type.tensor_type
            if not value.type.HasField("tensor_type") or kind.elem_type in (TensorProto.UNDEFINED, TensorProto.STRING):
                raise InputError(f"has an {side} {value.name!r} that is not a tensor of numbers", "move that part out of the network")
            if any(d.HasField("dim_value") and d.dim_value < 1 for d in kind.shape.dim):
                raise InputError(f"has an {side} {value.name!r} with an axis that is not positive", AGAIN)
            if math.prod(d.dim_value or 1 for d in kind.shape.dim) >= 2 ** 31:
                raise InputError(f"has an {side} {value.name!r} of more than 2^31 elements", "export it for smaller inputs")


def operators(model: ModelProto) -> None:
    """Operators that onnx defines, that the file defines itself, or that ONNX Runtime adds."""
    own = {(f.domain, f.name) for f in model.functions}
    imported = {_domain(o.domain): o.version for o in model.opset_import}
    for node in nodes(model):
        domain = _domain(node.domain)
        if (node.domain, node.op_type) in own:
            continue
        if node.domain not in (*STANDARD, *OTHERS):
            raise InputError(f"uses the operator {node.op_type!r} of the unknown domain {node.domain!r}", f"{AGAIN} with standard operators")
        if node.domain in STANDARD and not _defined(node.op_type, domain, imported.get(domain, 1)):
            raise InputError(f"uses {node.op_type!r}, which is no operator of opset {imported.get(domain, 1)}",
                             f"{AGAIN} with standard operators")


def names(model: ModelProto) -> None:
    """Each tensor is made once, before it is used, and there are no cycles."""
    _names(model.graph.node, {v.name for v in model.graph.input} | {w.name for w in model.graph.initializer},
           [o.name for o in model.graph.output], frozenset())
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
            _names(body.node, {v.name for v in body.input} | {w.name for w in body.initializer}, [o.name for o in body.output], scope)
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


def amount(model: ModelProto) -> None:
    """Nodes with functions expanded, and executions of nodes in loops of constant length, are bounded; functions do not recurse."""
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
            raise InputError(f"has a function {key[1]!r} that calls itself", AGAIN)
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
    """How often a Loop surely turns: its constant count, where no condition can end it sooner; 1 where only running tells."""
    count = constants.get(node.input[0], 1) if node.input and node.input[0] else 2 ** 63
    maker = {o: n for n in body.node for o in n.output}
    name = body.output[0].name if body.output else ""
    while name in maker and maker[name].op_type in ("Identity", "Cast") and maker[name].input:
        name = maker[name].input[0]
    endless = name in maker and maker[name].op_type == "Constant" or name in {v.name for v in body.input[1:2]}
    endless = endless or name in {w.name for w in body.initializer}
    return max(1, count) if endless else 1


def _constants(initializers: Iterable[TensorProto], inside: Iterable[NodeProto]) -> dict[str, int]:
    """Single whole numbers by name, as loop counts are."""
    tensors = [(w.name, w) for w in initializers]
    tensors += [(n.output[0], a.t) for n in inside if n.op_type == "Constant" and n.output for a in n.attribute if a.name == "value"]
    single = {name: t for name, t in tensors if t.data_type == TensorProto.INT64 and math.prod(t.dims) == 1}
    return {name: int(t.int64_data[0]) if t.int64_data else int.from_bytes(t.raw_data[:8], "little", signed=True)
            for name, t in single.items()}


def chains(model: ModelProto) -> None:
    """No endless rows of elementwise nodes."""
    for graph, _ in graphs(model):
        length: dict[str, int] = {}
        for node in graph.node:
            if node.op_type in _ELEMENTWISE:
                row = 1 + max((length.get(i, 0) for i in node.input), default=0)
                length.update(dict.fromkeys(node.output, row))
        if length and max(length.values()) > MAX_CHAIN:
            raise InputError(f"has {max(length.values())} elementwise nodes in a row", f"{MAX_CHAIN} is the most: simplify it before export")


def _defined(name: str, domain: str, version: int) -> bool:
    try:
        return not onnx.defs.get_schema(name, version, domain).deprecated
    except onnx.defs.SchemaError:
        return False


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name


def _twice(names: Iterable[str]) -> str | None:
    return next((name for name, count in Counter(names).items() if count > 1), None)
