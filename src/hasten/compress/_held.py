"""Weights that are held to a form while they are trained: what stands in the graph is `form(what is trained)`."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from torch import nn
from torch.nn.utils import parametrize

from hasten.compress._places import ran, sample
from hasten.model import TorchModel

if TYPE_CHECKING:
    from hasten.compress.heal import Heal
    from hasten.task import Task

KINDS = (nn.modules.conv._ConvNd, nn.Linear)


def weighted(model: TorchModel, task: "Task") -> tuple[list[str], dict[str, str]]:
    """Names of convolutions and linear layers, in the order in which they run; and why others with weights are none."""
    module = copy.deepcopy(model.module).eval()
    layers = {n: x for n, x in module.named_modules() if any(p.ndim > 1 for p in x.parameters(recurse=False))}
    every = [p for _, p in module.named_parameters(remove_duplicate=False)]
    order, why = ran(module, sample(model, task), layers), {}
    for name, layer in layers.items():
        if not isinstance(layer, KINDS):
            why[name] = f"{type(layer).__name__} is neither a convolution nor a linear layer"
        elif name not in order:
            why[name] = "forward never calls it"
        elif sum(p is layer.weight for p in every) > 1:
            why[name] = "its weights are also those of another layer"
    return [name for name in order if name not in why], why


def held(model: TorchModel, forms: Mapping[str, nn.Module], task: "Task", how: "Heal | None" = None) -> TorchModel:
    """With the weights of these layers in their form for good, after training with `how` if that is given."""
    module = copy.deepcopy(model.module)
    for name, form in forms.items():
        parametrize.register_parametrization(module.get_submodule(name), "weight", form)
    made = replace(model, module=module)
    if how is not None:
        made = how.train(made, task)
    module = copy.deepcopy(made.module)
    for name in forms:
        parametrize.remove_parametrizations(module.get_submodule(name), "weight", leave_parametrized=True)
    plain = copy.deepcopy(model.module)  # whose weights stand in the order in which they were made
    plain.load_state_dict(module.state_dict())
    return replace(made, module=plain)


def weights(module: nn.Module, names: Sequence[str]) -> dict[str, Any]:
    """The weight of each of these layers, detached."""
    return {name: cast(Any, module.get_submodule(name)).weight.detach() for name in names}
