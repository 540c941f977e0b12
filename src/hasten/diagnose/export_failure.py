"""Why a module cannot be exported: the smallest module at fault, the line of the user's own, what it is, what helps."""

import inspect
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from hasten.diagnose._alone import Alone, Unit, inner, of_calls, units
from hasten.diagnose._blame import Call, Line, Watched, current, module_at, raised
from hasten.diagnose._export_kinds import BATCH, CONTROL, DIFFERS, PACKED, PYTHON, RANDOM, Kind, kind_of
from hasten.engine import Engine
from hasten.export import Attempt, Exported, attempted
from hasten.model import Arrays, TorchModel

LOOK_S = 120.0  # after which no further module is tried alone


@dataclass(frozen=True)
class Failure:
    """What stands in the way of an export.

    Attributes:
        kind: what it is, and what helps by hand.
        module: name of the smallest module that cannot be exported alone; empty: the network itself.
        type: its class.
        line: of the user's own code; None where nothing points to one.
        attempts: what the exporters said of the whole network.
        unit: that module with what it is given.
    """

    kind: Kind
    module: str
    type: str
    line: Line | None
    attempts: tuple[Attempt, ...]
    unit: Unit

    @property
    def where(self) -> str:
        return f"{self.module} ({self.type})" if self.module else f"the network itself ({self.type})"

    @property
    def sentence(self) -> tuple[str, str]:
        """What is wrong, and the mend: a rewrite that does it, where there is one."""
        from hasten.diagnose.export_fix import rewrites_for

        said = dict.fromkeys(str(attempt) for attempt in reversed(self.attempts))
        first = {text.partition(":")[0]: text for text in said}  # of each exporter what it said at its usual opset
        place = f", {self.line}" if self.line else ""
        what = f"the model cannot be exported to ONNX: {self.kind.name} in {self.where}{place}"
        known = rewrites_for(self)
        mend = f"`hasten export --fix` {known[0].SAYS}; or {self.kind.mend}" if known else self.kind.mend
        return f"{what} ({'; '.join(sorted(first.values()))})", mend


def diagnose(model: TorchModel, feeds: Sequence[Arrays], engine: Engine, attempts: tuple[Attempt, ...]) -> Failure:
    """
    Args:
        feeds: as `hasten.export.proof` gives them.
        attempts: at the whole network, which all failed.
    """
    unit = Unit("", model, tuple(feeds))
    faults, until = attempts, time.monotonic() + LOOK_S
    while found := _below(model.module, unit.name, feeds, engine, faults, until):
        unit, faults = found
    module = model.module.get_submodule(unit.name)
    kind, line = _named(unit, faults, engine)
    line = line or _caller(model.module, unit.name, feeds[0]) or _forward(module)
    return Failure(kind, unit.name, type(module).__name__, line, attempts, unit)


def fails(unit: Unit, engine: Engine) -> tuple[Attempt, ...]:
    """What the exporters say of a module alone; nothing where one of them gets it right."""
    made = attempted(unit.model, unit.feeds, engine, quick=True, linked=False)
    return () if isinstance(made, Exported) else made


def _below(
    module: nn.Module,
    name: str,
    feeds: Sequence[Arrays],
    engine: Engine,
    faults: Sequence[Attempt],
    until: float,
) -> tuple[Unit, tuple[Attempt, ...]] | None:
    """A module inside of this one that cannot be exported alone; the one that a traceback names is tried first."""
    parts = list(inner(module, name))
    named = {at for fault in faults if (at := module_at(fault.fault, module))}
    found = units(module, parts, feeds) if parts else []
    found.sort(key=lambda unit: not any(f"{at}.".startswith(f"{unit.name}.") for at in named))
    for unit in found:
        if time.monotonic() < until and (said := fails(unit, engine)):
            return unit, said
    return None


def _named(unit: Unit, faults: Sequence[Attempt], engine: Engine) -> tuple[Kind, Line | None]:
    """What it is, and the line: by what was raised, else by looking at every call that forward makes."""
    said = [_everything(attempt.fault) for attempt in faults]
    kind = kind_of(said)
    lines = [line for attempt in faults if (line := raised(attempt.fault))]
    if isinstance(unit.model.module, Alone) and unit.model.module.packed:
        return PACKED, None
    if kind is BATCH and (line := _repeated(unit)):
        return kind, line
    if kind is CONTROL or not all("differs from torch" in text for text in said):
        dynamo_first = sorted(faults, key=lambda attempt: attempt.exporter)
        return kind, next((line for attempt in dynamo_first if (line := raised(attempt.fault))), None)
    first, again = (_watched(unit, unit.feeds[0]) for _ in range(2))
    if drawn := next((a for a, b in zip(first, again, strict=False) if not _equal(a.made, b.made)), None):
        return RANDOM, drawn.line
    if out := next((call for call in first if call.takes_out), None):
        length = out.name in ("__len__", "__index__")
        return (BATCH if length else PYTHON), out.line
    wrong = next((call for call in _alone(unit, first) if fails(call[1], engine)), None)
    return DIFFERS, wrong[0].line if wrong else next(iter(lines), None)


def _repeated(unit: Unit) -> Line | None:
    """Where forward makes more calls for more samples: the line of the first that is more."""
    few, many = sorted((_watched(unit, feed) for feed in unit.feeds[:2]), key=len)
    pairs = zip(few, many, strict=False)
    apart = next((i for i, (a, b) in enumerate(pairs) if (a.name, a.line) != (b.name, b.line)), len(few))
    return many[apart].line if apart < len(many) and len(few) < len(many) else None


def _alone(unit: Unit, first: Sequence[Call]) -> Iterator[tuple[Call, Unit]]:
    """Each call of torch in forward, with what it is given: it can be exported alone too."""
    rows = [_watched(unit, feed) for feed in unit.feeds]
    for i, call in enumerate(first):
        same = [row[i] for row in rows if len(row) == len(first) and row[i].func is call.func]
        if len(same) == len(rows) and (made := of_calls(call.func, [(c.args, c.kwargs) for c in same], unit.feeds)):
            yield call, made


def _watched(unit: Unit, feed: Arrays) -> list[Call]:
    seen = Watched()
    with torch.inference_mode(), seen:
        unit.model.module(*(torch.from_numpy(a.copy()) for a in feed.values()))
    return seen.calls


def _equal(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.shape == b.shape and torch.equal(a.nan_to_num(), b.nan_to_num()) if not a.is_complex() else True
    return True


def _everything(fault: BaseException) -> str:
    """Types and words of an exception and of what caused it."""
    return "".join(traceback.format_exception_only(fault)) + (
        _everything(fault.__cause__) if fault.__cause__ is not None else ""
    )


def _caller(network: nn.Module, name: str, feed: Arrays) -> Line | None:
    """Where the user's own code calls a module."""
    seen: list[Line | None] = []
    part = network.get_submodule(name)
    if not name:
        return None
    handle = part.register_forward_pre_hook(lambda *about: seen.append(current()))
    try:
        with torch.inference_mode():
            network(*(torch.from_numpy(a.copy()) for a in feed.values()))
    finally:
        handle.remove()
    return next(filter(None, seen), None)


def _forward(module: nn.Module) -> Line | None:
    try:
        return Line(inspect.getsourcefile(type(module).forward) or "", inspect.getsourcelines(type(module).forward)[1])
    except (OSError, TypeError):
        return None
