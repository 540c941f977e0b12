"""baked: weights that are computed from others in each call become weights.

What breaks (torch 2.13): `torch.nn.utils.parametrizations.orthogonal` computes a matrix exponential or Householder
products, for which dynamo (aten.linalg_matrix_exp) and the older exporter (aten::mH) have no form; the older one has
none for the products of `spectral_norm` either. In eval mode the weight is the same in each call: it is put in, to
the bit. Instances of the old `weight_norm` and `spectral_norm` export as they are and are left alone.
"""

import copy

import torch
from torch import nn
from torch.nn.utils import parametrize

from hasten.compress._calls import Run
from hasten.errors import NotApplicable

SAYS = "puts in the weights that parametrizations compute"


def rewritten(module: nn.Module, run: Run) -> nn.Module:
    """
    Raises:
        NotApplicable: no weight is parametrized.
    """
    made = copy.deepcopy(module).eval()
    held = [part for part in made.modules() if parametrize.is_parametrized(part)]
    if not held:
        raise NotApplicable("no weight is parametrized")
    for part in held:
        _bake(part)
    return made


def _bake(part: nn.Module) -> None:
    """As `remove_parametrizations`, which would take the weight from every other module of this class as well."""
    with torch.no_grad():
        weights = {name: getattr(part, name).clone() for name in part.parametrizations}  # type: ignore[union-attr]
    part.__class__ = type(part).__bases__[0]
    del part.parametrizations
    for name, weight in weights.items():
        part.register_parameter(name, nn.Parameter(weight, requires_grad=False))
