"""branches: `if x.sum() > 0:` computes both ways and takes the answer of the one that is true.

What breaks (torch 2.13): dynamo cannot guard on a value that it does not know; the older exporter writes down the way
that its example took, and answers wrongly for the rest. Forward is run once for each way through its branches, on the
same inputs, and `torch.where` chooses between the answers, to the bit. `.item()` inside gives a tensor, so that a
comparison of it is a branch too. A way that raises is never taken: checks of values are lost. Loops whose end depends
on data have no last way: they are refused.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_unflatten

from hasten.compress._calls import Run, otherwise
from hasten.errors import NotApplicable

SAYS = "computes both ways of the branch and takes the answer of the one that is true"
MOST = 8  # branches on a way, and so at most 256 ways


class _Way(TorchFunctionMode):
    """Answers each question as it was decided beforehand; yes to what was not foreseen."""

    def __init__(self, decided: tuple[bool, ...]) -> None:
        super().__init__()
        self.decided, self.asked = decided, list[torch.Tensor]()

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.item:
            return args[0].reshape(())
        if func is not torch.Tensor.__bool__:
            return func(*args, **(kwargs or {}))
        if len(self.asked) == MOST:
            raise NotApplicable(f"there are more than {MOST} branches on a way, or a loop whose end depends on data")
        self.asked.append(args[0])
        return len(self.asked) > len(self.decided) or self.decided[len(self.asked) - 1]


class _Asked(TorchFunctionMode):
    """Counts the questions, and leaves the answers to the data."""

    count = 0

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        self.count += func in (torch.Tensor.__bool__, torch.Tensor.item)
        return func(*args, **(kwargs or {}))


def rewritten(module: nn.Module, run: Run) -> nn.Module:
    """
    Raises:
        NotApplicable: nothing is asked, or too much, or answers of both ways differ in more than their numbers.
    """
    with _Asked() as seen:
        run(module)
    if not seen.count:
        raise NotApplicable("there is no branch that depends on data")
    made = otherwise(module, lambda plain, *args, **kwargs: _chosen(lambda: plain(*args, **kwargs), ()))
    run(made)  # whether it can be done at all
    return made


def _chosen(plain: Callable[[], Any], decided: tuple[bool, ...]) -> Any:
    """The answer of whichever way is true, of those that begin as was decided."""
    refused: Exception | None = None
    answer: Any = None
    with _Way(decided) as way:
        try:
            answer = plain()
        except NotApplicable:
            raise
        except Exception as fault:  # a check of values: this way is never taken
            refused = fault
    for i in reversed(range(len(decided), len(way.asked))):
        other = _chosen(plain, (*decided, *[True] * (i - len(decided)), False))
        answer, refused = (other, None) if refused else (_either(way.asked[i], answer, other), None)
    if refused:
        raise NotApplicable(f"every way raises: {refused}") from refused
    return answer


def _either(condition: torch.Tensor, yes: Any, no: Any) -> Any:
    (ours, form), (theirs, other) = tree_flatten(yes), tree_flatten(no)
    if form != other:
        raise NotApplicable("the two ways of a branch answer in different forms")
    return tree_unflatten([_pick(condition, a, b) for a, b in zip(ours, theirs, strict=True)], form)


def _pick(condition: torch.Tensor, yes: Any, no: Any) -> Any:
    if isinstance(yes, torch.Tensor) and isinstance(no, torch.Tensor) and yes.dtype == no.dtype:
        return torch.where(condition.reshape(()).bool(), yes, no)
    if not isinstance(yes, torch.Tensor) and not isinstance(no, torch.Tensor) and yes == no:
        return yes
    raise NotApplicable("the two ways of a branch answer with different types")
