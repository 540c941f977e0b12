"""Networks of the user's own class with other numbers of channels: which numbers changed, and the same change anew."""

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hasten.errors import InputError

if TYPE_CHECKING:
    import torch

Sizes = dict[str, dict[str, Any]]  # module name -> attribute -> whole number, or several


def changed(before: "torch.nn.Module", after: "torch.nn.Module") -> Sizes:
    """The attributes of whole numbers in which the modules of `after` differ; both have the same modules."""
    found: Sizes = {}
    for name, module in before.named_modules():
        now = vars(after.get_submodule(name))
        for attribute, value in vars(module).items():
            if _whole(value) and now.get(attribute) != value:
                found.setdefault(name, {})[attribute] = now[attribute]
    return found


def resized(module: "torch.nn.Module", sizes: Mapping[str, Mapping[str, Any]]) -> "torch.nn.Module":
    """A copy with the attributes that `changed` gave; its parameters are still those of before.

    Raises:
        InputError: the network has no such module, or no such number.
    """
    made = copy.deepcopy(module)
    modules = dict(made.named_modules())
    for name, numbers in sizes.items():
        for attribute, value in numbers.items():
            value = tuple(value) if isinstance(value, list) else value
            if name not in modules or not _whole(value) or not _whole(vars(modules[name]).get(attribute)):
                raise InputError(
                    f"the network has no number {attribute!r} in its module {name!r}",
                    "build the network that was compressed",
                )
            setattr(modules[name], attribute, value)
    return made


def _whole(value: object) -> bool:
    several = value if isinstance(value, tuple) else (value,)
    return bool(several) and all(isinstance(v, int) and not isinstance(v, bool) for v in several)
