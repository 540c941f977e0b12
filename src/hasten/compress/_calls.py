"""A module whose forward is another, or in whose forward some calls of torch are answered by others."""

import contextlib
import copy
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from torch import nn
from torch.overrides import TorchFunctionMode

from hasten.errors import NotApplicable

Run = Callable[[nn.Module], Any]
Calls = Mapping[Callable[..., Any], Callable[..., Any]]  # a function of torch -> what answers; it may decline


def declined() -> NoReturn:
    """An answer that is not for this call: torch's own is taken.

    Raises:
        Declined: always.
    """
    raise Declined


class Declined(Exception):  # noqa: N818 - an answer
    """Never leaves this file."""


class Answered(TorchFunctionMode):
    """While it is entered, these calls are answered otherwise. What answers may use all of torch."""

    def __init__(self, calls: Calls) -> None:
        super().__init__()
        self._calls, self.answered = calls, 0

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        other = self._calls.get(func)
        if other is not None:
            with contextlib.suppress(Declined):
                made = other(*args, **(kwargs or {}))
                self.answered += 1
                return made
        return func(*args, **(kwargs or {}))


def answered(module: nn.Module, run: Run, calls: Calls, what: str) -> nn.Module:
    """A copy in whose forward these calls are answered otherwise.

    Raises:
        NotApplicable: it makes none of them; `what` are they.
    """
    with Answered(calls) as seen:
        run(module)
    if not seen.answered:
        raise NotApplicable(f"there is no call of {what}")

    return answering(module, calls)


def answering(module: nn.Module, calls: Calls) -> nn.Module:
    """A copy in whose forward these calls are answered otherwise, whether it makes any or not."""

    def forward(plain: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with Answered(calls):
            return plain(*args, **kwargs)

    return otherwise(module, forward)


def otherwise(module: nn.Module, forward: Callable[..., Any]) -> nn.Module:
    """A copy with this forward, which is given the plain one first; its class is still the user's, and so are names."""
    made = copy.deepcopy(module)
    kind = type(made)

    def called(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return forward(lambda *a, **k: kind.forward(self, *a, **k), *args, **kwargs)

    made.__class__ = type(kind.__name__, (kind,), {"forward": called, "__module__": kind.__module__})
    return made
