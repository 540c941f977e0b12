"""What cannot be exported is written otherwise, module by module, until the network can be exported."""

import copy
import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from hasten.diagnose.export_failure import Failure, diagnose, fails
from hasten.engine import Engine
from hasten.errors import InputError, NotApplicable
from hasten.export import Attempt, Exported, attempted, compared
from hasten.model import Arrays, TorchModel

if TYPE_CHECKING:
    from hasten.diagnose._alone import Unit
    from hasten.task import Task

MOST = 16  # rewrites of one network
SAME = 1e-4  # of the largest magnitude of an answer, in single precision: the order of sums, not another result
_DOOR = "plain_outputs"  # of the whole network, before it has a signature


@cache
def rewrites() -> dict[str, Any]:
    """The modules of `rewrites/`, by name."""
    folder = importlib.import_module("hasten.diagnose.rewrites")
    names = sorted(entry.name for entry in pkgutil.iter_modules(folder.__path__) if not entry.name.startswith("_"))
    return {name: importlib.import_module(f"{folder.__name__}.{name}") for name in names}


def rewrites_for(failure: Failure) -> list[Any]:
    """Those that have something to do in the module at fault."""
    return [rewrites()[name] for name, _ in _candidates(failure)]


def mended(model: TorchModel, feeds: Sequence[Arrays], engine: Engine, attempts: tuple[Attempt, ...]) -> Exported:
    """The network exported after as many rewrites as it takes; compared with the network as it came.

    Args:
        feeds: as `hasten.export.proof` gives them.
        attempts: at the network as it is, which all failed.

    Raises:
        InputError: something is left that no rewrite is known for.
    """
    now, done = model, list[str]()
    while len(done) < MOST:
        failure = diagnose(now, feeds, engine, attempts)
        better = _rewritten(now, failure, engine)
        if better is None:
            what, _ = failure.sentence
            said = f"; after {', '.join(done)}" if done else ""
            raise InputError(f"{what}{said}; no rewrite mends it", failure.kind.mend)
        name, now = better
        done.append(f"{name} in {failure.module or 'the network itself'}")
        made = attempted(now, feeds, engine)
        if isinstance(made, Exported):
            return replace(
                made, rewrites=tuple(done), max_abs_difference=compared(model, made.model, feeds[1:], engine)
            )
        attempts = made
    raise InputError(f"the model cannot be exported to ONNX after {', '.join(done)}", "write it in a simpler way")


def opened(task: "Task") -> tuple[TorchModel, tuple[str, ...]]:
    """The task's model, which may answer with more than tensors; and the rewrite that this took.

    Raises:
        InputError: as hasten.task.Task.original.
    """
    try:
        original = task.original
    except InputError as fault:
        module, feed = task.module(), task.sample().take(slice(0, 1)).inputs

        def run(it: nn.Module) -> Any:
            with torch.inference_mode():
                return it(*(torch.from_numpy(np.array(a)) for a in feed.values()))

        try:
            made = rewrites()[_DOOR].rewritten(module.eval(), run)
        except Exception:
            raise fault from None
        return TorchModel.of(made, feed), (f"{_DOOR} in the network itself",)
    assert isinstance(original, TorchModel)
    return original, ()


def _candidates(failure: Failure) -> list[tuple[str, nn.Module]]:
    """Name of a rewrite and what it makes of the module at fault, those with the same answers."""
    found: list[tuple[str, nn.Module]] = []
    for name, rewrite in rewrites().items():
        if name == _DOOR:
            continue
        run = _runner(failure.unit)
        try:
            made = rewrite.rewritten(_inner(failure.unit), run)
            if all(_same(a, b) for a, b in zip(run(made), run(_inner(failure.unit)), strict=True)):
                found.append((name, made))
        except (NotApplicable, RuntimeError, TypeError, ValueError, IndexError):  # what does not run is not taken
            continue
    return found


def _rewritten(model: TorchModel, failure: Failure, engine: Engine) -> tuple[str, TorchModel] | None:
    """With the first rewrite after which the module at fault can be exported, or fails at another line."""
    for name, made in _candidates(failure):
        unit = replace(failure.unit, model=_with(failure.unit, made))
        left = fails(unit, engine)
        if left and diagnose(unit.model, unit.feeds, engine, left).line == failure.line:
            continue
        whole = copy.deepcopy(model.module)
        if failure.module:
            whole.set_submodule(failure.module, made)
        return name, replace(model, module=whole if failure.module else made)
    return None


def _inner(unit: "Unit") -> nn.Module:
    """The user's module, without what takes its arguments apart."""
    return unit.model.module.get_submodule("inner") if unit.name else unit.model.module


def _with(unit: "Unit", part: nn.Module) -> TorchModel:
    if not unit.name:
        return replace(unit.model, module=part)
    alone = copy.copy(unit.model.module)
    alone._modules = {"inner": part}
    return replace(unit.model, module=alone)


def _runner(unit: "Unit") -> Callable[[nn.Module], list[torch.Tensor]]:
    """Runs a module on what that of the unit is given; its answers, tensor by tensor."""

    def run(part: nn.Module) -> list[torch.Tensor]:
        from torch.utils._pytree import tree_leaves

        module = _with(unit, part).module
        with torch.inference_mode():
            answers = [module(*(torch.from_numpy(a.copy()) for a in feed.values())) for feed in unit.feeds]
        return [x for x in tree_leaves(answers) if isinstance(x, torch.Tensor)]

    return run


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if not a.is_floating_point():
        return torch.equal(a, b)
    scale = max(1.0, float(b.nan_to_num(0, 0, 0).abs().max())) if b.numel() else 1.0
    return torch.allclose(a, b, rtol=0, atol=SAME * scale, equal_nan=True)
