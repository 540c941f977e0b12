"""plain_outputs: an answer of nested lists and dicts becomes one dict of tensors; what is no tensor is left out.

What breaks (any torch): a graph gives named tensors; a model that answers with None, a number or a list within a dict
has no signature. Instead: {"a": x, "b": [y, None]} becomes {"a": x, "b.0": y}. The tensors are the same to the bit.
It is the only rewrite of the whole network, and comes before all others.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from hasten.compress._calls import Run, otherwise
from hasten.errors import NotApplicable

SAYS = "answers with the tensors alone, by names like part.0"


def rewritten(module: nn.Module, run: Run) -> nn.Module:
    """
    Raises:
        NotApplicable: it answers with tensors by name already, or with none.
    """
    answer = run(module)
    flat = dict(_tensors(answer, ""))
    if not flat:
        raise NotApplicable("there is no tensor in the answer")
    if isinstance(answer, torch.Tensor) or all(isinstance(x, torch.Tensor) for x in _values(answer)):
        raise NotApplicable("the answer is made of tensors already")
    return otherwise(module, lambda plain, *args, **kwargs: dict(_tensors(plain(*args, **kwargs), "")))


def _tensors(answer: Any, name: str) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(answer, torch.Tensor):
        yield name or "output", answer
    elif isinstance(answer, Mapping):
        for key, value in answer.items():
            yield from _tensors(value, f"{name}.{key}" if name else str(key))
    elif isinstance(answer, list | tuple):
        for i, value in enumerate(answer):
            yield from _tensors(value, f"{name}.{i}" if name else f"output{i}")
    elif hasattr(answer, "__dataclass_fields__"):
        yield from _tensors({key: getattr(answer, key) for key in answer.__dataclass_fields__}, name)


def _values(answer: Any) -> list[Any]:
    if isinstance(answer, Mapping):
        return list(answer.values())
    return list(answer) if isinstance(answer, list | tuple) else [None]
