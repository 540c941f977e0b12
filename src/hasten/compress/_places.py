"""Layers that chains of smaller layers can stand for: which there are, what they cost, and the exchange itself.

A chain is an `nn.Sequential` of plain layers; on record it is the list of their kinds and sizes, so that a checkpoint
can build it again without its weights.
"""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from hasten.engines.torch import call
from hasten.errors import InputError
from hasten.model import Arrays, TorchModel

if TYPE_CHECKING:
    from hasten.task import Task
    from hasten.technique import Technique

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
Layer = Convolution | nn.Linear
Chains = Mapping[str, nn.Sequential]  # name of a layer -> what stands for it
Description = list[tuple[str, dict[str, Any]]]
KINDS: dict[str, type[nn.Module]] = {k.__name__: k for k in (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)}
SIZES = {
    "Linear": ("in_features", "out_features"),
    "Conv": (
        "in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode",
    ),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Place:
    """A layer that a chain can stand for.

    Attributes:
        name: of the layer in its network.
        layer: itself.
        shape: of what it was given, of one call.
        macs: multiply-adds of that call.
    """

    name: str
    layer: Layer
    shape: tuple[int, ...]
    macs: int

    def cost(self, chain: nn.Sequential) -> int:
        """Multiply-adds of `chain` for the same call."""
        return _macs(chain, self.shape)

    def too_dear(self, cost: int) -> str:
        """Why a chain of that cost should not stand for it; empty where it should."""
        more = cost / max(1, self.macs)
        return "" if more < 1 else f"its parts would need {more:.3g} times as many multiply-adds as itself"


def places(model: TorchModel, task: "Task") -> tuple[list[Place], dict[str, str]]:
    """Convolutions of one group and linear layers, in the order in which they run; and why the others are none."""
    module, feed = copy.deepcopy(model.module).eval(), sample(model, task)
    layers = {n: x for n, x in module.named_modules() if any(p.ndim > 1 for p in x.parameters(recurse=False))}
    wanted = call(module, feed)
    seen = ran(module, feed, layers)
    fixed = {name: reason for name, layer in layers.items() if (reason := _why_fixed(module, name, layer, seen))}
    able = [name for name in seen if name not in fixed]

    def same(names: Sequence[str]) -> bool:
        """Does the network answer as before when these stand in chains of their own?"""
        try:
            made = call(exchanged(module, {n: nn.Sequential(layers[n]) for n in names}), feed)
        except (AttributeError, TypeError, RuntimeError):
            return False
        return all(np.array_equal(made[k], v, equal_nan=True) for k, v in wanted.items())

    if not same(able):
        fixed |= {n: "forward reads more of it than its answer" for n in able if not same([n])}
    kept = [n for n in seen if n not in fixed]
    return [Place(n, model.module.get_submodule(n), seen[n], _macs(layers[n], seen[n])) for n in kept], fixed  # type: ignore[arg-type]


def sample(model: TorchModel, task: "Task") -> Arrays:
    """What one small call is fed with."""
    data, size = task.sample(), 2 if model.signature.batch else model.signature.fixed_batch
    inputs = {t.name: data.inputs[t.name] for t in model.signature.inputs}
    return {name: np.ascontiguousarray(np.resize(a, (size, *a.shape[1:]))) for name, a in inputs.items()}


def ran(module: nn.Module, feed: Arrays, names: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Those of these layers that forward calls, in the order in which it does, and the shape that each is given."""
    seen: dict[str, tuple[int, ...]] = {}

    def noted(name: str) -> Callable[[nn.Module, tuple[torch.Tensor, ...], Any], None]:
        def hook(layer: nn.Module, given: tuple[torch.Tensor, ...], made: Any) -> None:
            if given:
                seen.setdefault(name, tuple(given[0].shape))

        return hook

    hooks = [module.get_submodule(name).register_forward_hook(noted(name)) for name in names]
    try:
        call(module, feed)
    finally:
        for handle in hooks:
            handle.remove()
    return seen


def exchanged(module: nn.Module, chains: Mapping[str, nn.Module]) -> nn.Module:
    """A copy of the network in which these chains stand for the layers of those names."""
    made = copy.deepcopy(module)
    for name, chain in chains.items():
        if not name:
            return chain  # the network is that one layer
        made.set_submodule(name, chain)
    return made


def replaced(step: "Technique", model: TorchModel, chains: Chains, untouched: Mapping[str, str]) -> TorchModel:
    """The network with chains, and on record what they are and why other layers have none.

    Raises:
        NotApplicable: there is no chain.
    """
    if not chains:
        raise step.nothing(untouched, "there is no convolution and no linear layer")
    made_of = {name: described(chain) for name, chain in chains.items()}
    made = replace(model, module=exchanged(model.module, chains))
    return made.edited(type(step).__module__.rpartition(".")[2], {"layers": made_of, "untouched": dict(untouched)})


def described(chain: nn.Sequential) -> Description:
    """Kinds and sizes of its layers, for the record."""
    found: Description = []
    for layer in chain:
        kind = type(layer).__name__
        sizes = {size: getattr(layer, size) for size in SIZES["Linear" if kind == "Linear" else "Conv"]}
        found.append((kind, sizes | {"bias": layer.bias is not None}))
    return found


def chain_of(description: Sequence[Sequence[Any]]) -> nn.Sequential:
    """The chain that `described` told, with weights of its own."""
    return nn.Sequential(
        *(
            KINDS[kind](**{k: tuple(v) if isinstance(v, list) else v for k, v in sizes.items()})
            for kind, sizes in description
        )
    )


def built(module: nn.Module, layers: Mapping[str, Sequence[Sequence[Any]]]) -> nn.Module:
    """A copy of the network with the chains that `described` told, by the name of the layer; weights are put in later.

    Raises:
        InputError: there is no such layer, or no such kind.
    """
    chains = {}
    for name, description in layers.items():
        try:
            old = module.get_submodule(name)
            chains[name] = chain_of(description).train(old.training)
        except (AttributeError, KeyError, TypeError, ValueError) as fault:
            raise InputError(
                f"the network has no layer {name!r} that these could stand for: {description}",
                "build the network that was compressed",
            ) from fault
    return exchanged(module, chains)


def _why_fixed(module: nn.Module, name: str, layer: nn.Module, seen: Mapping[str, Any]) -> str:
    """Empty where it is not."""
    if type(layer) not in KINDS.values():
        return f"{type(layer).__name__} is neither a plain convolution nor a linear layer"
    if name not in seen:
        return "forward never calls it"
    if getattr(layer, "groups", 1) > 1:
        return "its channels are in groups already"
    names = [n for n, p in module.named_parameters(remove_duplicate=False) if p is layer.weight]
    return "" if len(names) == 1 else f"its weights are also those of {names[0] if names else 'nobody'}"


def _macs(layer: nn.Module, shape: Sequence[int]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        copy.deepcopy(layer).to("meta")(torch.empty(shape, device="meta"))
    return int(counter.get_total_flops()) // 2
