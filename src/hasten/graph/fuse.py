"""Which nodes became one layer: here, when the file was made, and in the engine, when it was read."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from hasten.model import Arrays, OnnxModel, TorchModel
from hasten.provenance import module_of, nodes

_QUIET = {"Constant", "DequantizeLinear", "QuantizeLinear"}  # of how values are stored, not of what is computed


def by_engine(layers: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What an engine executes as one layer though the file has several nodes for it, by the operators of these.

    Args:
        layers: with `ops`, the operators of the file in the order in which they stand, and `ms`.

    Returns:
        ops; layers, how many of them; ms of them together. The most time first.
    """
    found: dict[tuple[str, ...], list[float]] = {}
    for layer in layers:
        ops = tuple(op for op in layer["ops"] if op not in _QUIET)
        if len(ops) > 1:
            found.setdefault(ops, []).append(layer["ms"])
    rows = [{"ops": list(ops), "layers": len(times), "ms": sum(times)} for ops, times in found.items()]
    return sorted(rows, key=lambda row: -row["ms"])


def here(model: TorchModel, feed: Arrays, made: OnnxModel) -> list[str]:
    """Modules that are called and have no node of their own in the file: a norm in the layer before it, a dropout.

    Args:
        feed: what the modules are called with, once.
        made: the file that this model became, whose nodes have the names of modules.

    Returns:
        `name (class)` of each module that has no modules inside, in the order of the model.
    """
    from hasten.engines.torch import call

    leaves = {name: m for name, m in model.module.named_modules() if name and not next(m.children(), None)}
    ran: set[str] = set()

    def watch(name: str) -> Callable[..., None]:
        return lambda *about: ran.add(name)

    hooks = [m.register_forward_hook(watch(name)) for name, m in leaves.items()]
    try:
        call(model.module, feed)
    finally:
        for hook in hooks:
            hook.remove()
    known = {module_of(node) for node in nodes(made.proto.graph)}
    return [f"{name} ({type(m).__name__})" for name, m in leaves.items() if name in ran and name not in known]
