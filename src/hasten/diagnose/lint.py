"""What may not stand in a graph, whoever wrote it: our own rules, beyond onnx.checker's. Nothing is run.

Every rule takes the whole model and raises InputError with one sentence. None follows a pointer that the file could
have bent: names are looked up, recursion is counted, and products are Python integers, which do not overflow.
"""

import math
from collections import Counter
from collections.abc import Iterable

import onnx
from onnx import ModelProto, TensorProto

from hasten.diagnose.amount import amount, chains
from hasten.diagnose.order import AGAIN, names
from hasten.diagnose.walk import graphs, nodes
from hasten.errors import InputError
from hasten.forest import OPERATORS, Forest

MAX_NESTING = (
    8  # graphs in graphs; OpenVINO's time doubles with each (16: 1 s, 24: minutes), real networks have up to 3
)

STANDARD = ("", "ai.onnx", "ai.onnx.ml")
OTHERS = ("com.microsoft", "ai.onnx.preview.training")  # known to ONNX Runtime, which judges them itself


def check(model: ModelProto) -> None:
    """Every rule in turn.

    Raises:
        InputError: the first that is broken.
    """
    for rule in (versions, nesting, interface, amount, operators, names, chains, trees):
        rule(model)


def versions(model: ModelProto) -> None:
    """IR and opset numbers that the installed onnx knows; onnx.checker passes opset 999."""
    if not 1 <= model.ir_version <= onnx.IR_VERSION:
        raise InputError(f"has IR version {model.ir_version}", f"versions 1 to {onnx.IR_VERSION} are known: {AGAIN}")
    said = {(_domain(o.domain), o.version) for o in model.opset_import}  # skl2onnx says the same twice
    if len({domain for domain, _ in said}) < len(said):
        raise InputError("imports the same operator set twice, in two versions", AGAIN)
    known = {"": onnx.defs.onnx_opset_version(), "ai.onnx.ml": onnx.defs.onnx_ml_opset_version()}
    imported = {_domain(o.domain): o.version for o in model.opset_import}
    if "" not in imported and (not imported or any(_domain(n.domain) == "" for n in nodes(model))):
        raise InputError("does not say which opset it uses", AGAIN)
    for domain, version in imported.items():
        if domain in known and not 1 <= version <= known[domain]:
            raise InputError(
                f"has opset {version}{f' of {domain}' if domain else ''}",
                f"1 to {known[domain]} are known: {AGAIN} with one of these",
            )


def nesting(model: ModelProto) -> None:
    """Graphs inside graphs only so deep."""
    deepest = max(depth for _, depth in graphs(model))
    if deepest > MAX_NESTING:
        raise InputError(
            f"has graphs nested {deepest} deep", f"{MAX_NESTING} is the most: flatten its If and Loop nodes"
        )


def interface(model: ModelProto) -> None:
    """Inputs and outputs: some, named once, tensors of numbers, no two weights of one name."""
    graph = model.graph
    for graph_in, _ in graphs(model):
        if graph_in.sparse_initializer:
            raise InputError(
                f"stores the weight {graph_in.sparse_initializer[0].values.name!r} sparsely", "store it dense"
            )
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
                raise InputError(
                    f"has an {side} {value.name!r} that is not a tensor of numbers", "move that part out of the network"
                )
            if any(d.HasField("dim_value") and d.dim_value < 1 for d in kind.shape.dim):
                raise InputError(f"has an {side} {value.name!r} with an axis that is not positive", AGAIN)
            if math.prod(d.dim_value or 1 for d in kind.shape.dim) >= 2**31:
                raise InputError(
                    f"has an {side} {value.name!r} of more than 2^31 elements", "export it for smaller inputs"
                )


def operators(model: ModelProto) -> None:
    """Operators that onnx defines, that the file defines itself, or that ONNX Runtime adds."""
    own = {(f.domain, f.name) for f in model.functions}
    imported = {_domain(o.domain): o.version for o in model.opset_import}
    for node in nodes(model):
        domain = _domain(node.domain)
        if (node.domain, node.op_type) in own:
            continue
        if node.domain not in (*STANDARD, *OTHERS):
            raise InputError(
                f"uses the operator {node.op_type!r} of the unknown domain {node.domain!r}",
                f"{AGAIN} with standard operators",
            )
        if node.domain in STANDARD and not _defined(node.op_type, domain, imported.get(domain, 1)):
            raise InputError(
                f"uses {node.op_type!r}, which is no operator of opset {imported.get(domain, 1)}",
                f"{AGAIN} with standard operators",
            )


def trees(model: ModelProto) -> None:
    """Ensembles of trees are trees: a way that comes back, or leads nowhere, keeps an engine busy or crashes it."""
    for node in nodes(model):
        if node.domain == "ai.onnx.ml" and node.op_type in OPERATORS:
            try:
                Forest.of(node)
            except InputError as fault:
                raise InputError(f"holds trees that are none: {fault.what}", AGAIN) from fault


def _defined(name: str, domain: str, version: int) -> bool:
    try:
        return not onnx.defs.get_schema(name, version, domain).deprecated
    except onnx.defs.SchemaError:
        return False


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name


def _twice(names: Iterable[str]) -> str | None:
    return next((name for name, count in Counter(names).items() if count > 1), None)
