"""A module inside a network, taken out with what it is given: it can be exported alone."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.utils._pytree import TreeSpec, tree_flatten, tree_leaves, tree_unflatten

from hasten.model import Arrays, Signature, Tensor, TorchModel

Feed = tuple[torch.Tensor, ...]


@dataclass(frozen=True, eq=False)
class Unit:
    """One module with real inputs of several batch sizes, as `hasten.export.attempted` takes them."""

    name: str  # in its network; empty: the network itself
    model: TorchModel
    feeds: tuple[Arrays, ...]


class Alone(nn.Module):
    """Tensors in a row -> the module's arguments, and its answer -> tensors in a row."""

    def __init__(self, inner: nn.Module, spec: TreeSpec, leaves: Sequence[Any]) -> None:
        super().__init__()
        self.inner = inner
        self._spec, self._constants = spec, [None if isinstance(x, torch.Tensor) else x for x in leaves]
        self._free = [isinstance(x, torch.Tensor) for x in leaves]

    @property
    def packed(self) -> bool:
        """Is it given a packed sequence?"""
        return "PackedSequence" in repr(self._spec)

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        given = iter(tensors)
        leaves = [next(given) if free else x for free, x in zip(self._free, self._constants, strict=True)]
        args, kwargs = tree_unflatten(leaves, self._spec)
        return tuple(x for x in tree_leaves(self.inner(*args, **kwargs)) if isinstance(x, torch.Tensor))


def inner(module: nn.Module, name: str) -> Iterator[str]:
    """The nearest modules within this one that may be called: those that only hold others are passed through.

    What computes a parametrized weight belongs to the layer; what is scripted cannot be taken out.
    """
    holder = module.get_submodule(name)
    for child, part in holder.named_children():
        if isinstance(part, torch.jit.ScriptModule) or (
            child == "parametrizations" and parametrize.is_parametrized(holder)
        ):
            continue
        path = f"{name}.{child}" if name else child
        if type(part).forward is nn.Module.forward or isinstance(part, nn.ModuleList | nn.ModuleDict):
            yield from inner(module, path)
        else:
            yield path


def units(module: nn.Module, names: Sequence[str], feeds: Sequence[Arrays]) -> list[Unit]:
    """Those of these modules that forward calls, in the order in which it does, and that can be taken out."""
    seen: dict[str, list[tuple[Any, Any]]] = {}

    def hook(name: str) -> Any:
        def noted(part: nn.Module, args: Any, kwargs: Any) -> None:
            calls.setdefault(name, tree_flatten(_copied((args, kwargs))))

        return noted

    parts = dict(zip(names, map(module.get_submodule, names), strict=True))
    for feed in feeds:
        calls: dict[str, Any] = {}
        hooks = [parts[n].register_forward_pre_hook(hook(n), with_kwargs=True) for n in names]
        try:
            with torch.inference_mode():
                module(*(torch.from_numpy(a.copy()) for a in feed.values()))
        finally:
            for handle in hooks:
                handle.remove()
        for name, call in calls.items():
            seen.setdefault(name, []).append(call)
    whole = [name for name, calls_of in seen.items() if len(calls_of) == len(feeds)]
    found = (_unit(name, parts[name], seen[name], [len(next(iter(f.values()))) for f in feeds]) for name in whole)
    return [unit for unit in found if unit is not None]


def of_calls(function: Callable[..., Any], calls: Sequence[tuple[Any, Any]], feeds: Sequence[Arrays]) -> Unit | None:
    """A function of torch with what it is given at each feed; None where it cannot stand alone."""

    class Function(nn.Module):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

    given = [tree_flatten(_copied(call)) for call in calls]
    return _unit("", Function(), given, [len(next(iter(f.values()))) for f in feeds])


def _copied(tree: Any) -> Any:
    leaves, spec = tree_flatten(tree)
    return tree_unflatten([x.detach().clone() if isinstance(x, torch.Tensor) else x for x in leaves], spec)


def _unit(name: str, part: nn.Module, calls: Sequence[tuple[list[Any], TreeSpec]], sizes: Sequence[int]) -> Unit | None:
    """None where what it is given or gives cannot stand at the end of an ONNX graph, or has no lasting form."""
    leaves, spec = calls[0]
    alone = Alone(part, spec, leaves).eval()
    rows: list[Feed] = [tuple(x for x in given if isinstance(x, torch.Tensor)) for given, _ in calls]
    try:
        with torch.inference_mode():
            answers = [alone(*_copied(row)) for row in rows]
    except (RuntimeError, TypeError, ValueError, StopIteration, IndexError):
        return None
    ends = (rows, answers)
    if any(len({len(row) for row in side}) != 1 or not side[0] for side in ends):
        return None
    if any(x.is_complex() or x.is_sparse or x.is_nested for side in ends for row in side for x in row):
        return None
    into, out = (
        tuple(_tensor(f"{word}{i}", [row[i] for row in side], sizes) for i in range(len(side[0])))
        for word, side in zip(("input", "output"), ends, strict=True)
    )
    feeds = tuple({t.name: _array(x) for t, x in zip(into, row, strict=True)} for row in rows)
    return Unit(name, TorchModel(alone, Signature(into, out)), feeds)


def _array(tensor: torch.Tensor) -> np.ndarray:
    array: np.ndarray = tensor.cpu().numpy()
    return np.ascontiguousarray(array)


def _tensor(name: str, seen: Sequence[torch.Tensor], sizes: Sequence[int]) -> Tensor:
    """Axes whose length changed from call to call are free."""
    lengths = zip(*(x.shape for x in seen), strict=True)
    axes = tuple(
        a[0] if len(set(a)) == 1 else "N" if list(a) == list(sizes) else f"{name}_{i}" for i, a in enumerate(lengths)
    )
    return Tensor(name, str(seen[0].dtype).removeprefix("torch."), axes)
