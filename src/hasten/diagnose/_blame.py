"""Which line of the user's own code an exporter's exception, or a call of torch, comes from."""

import linecache
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from hasten import exporters

_OTHERS = ("torch", "hasten", "onnx", "onnxscript", "onnx_ir", "onnxruntime", "numpy", "sympy", "typing_extensions")
_PLACE = re.compile(r"([^\s\"'()]+\.py)\W+(?:line )?(\d+)")  # file.py(12), file.py:12, "file.py", line 12
_VALUES = {"__bool__", "__int__", "__float__", "__index__", "__len__", "item", "tolist", "numpy", "__array__"}


@dataclass(frozen=True)
class Line:
    """A place in the user's own code."""

    file: str
    number: int

    @property
    def text(self) -> str:
        return linecache.getline(self.file, self.number).strip()

    def __str__(self) -> str:
        return f"{Path(self.file).name}, line {self.number}" + (f": `{self.text}`" if self.text else "")


@dataclass(frozen=True, eq=False)
class Call:
    """A call of torch, as forward made it."""

    func: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    made: Any
    line: Line | None

    @property
    def name(self) -> str:
        return str(getattr(self.func, "__name__", self.func))

    @property
    def takes_out(self) -> bool:
        """Does a value leave torch, so that whoever follows its calls sees a constant?"""
        return self.name in _VALUES


class Watched(TorchFunctionMode):
    """Notes every call of torch while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.calls.append(Call(func, args, kwargs or {}, made, current()))
        return made


def current() -> Line | None:
    """The innermost line of the user's own that is running."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if _own(frame.f_code.co_filename):
            return Line(frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back
    return None


def raised(fault: BaseException) -> Line | None:
    """The innermost line of the user's own in a traceback, or that of the operator which the exporter had before it."""
    inside = [list(traceback.walk_tb(cause.__traceback__)) for cause in _causes(fault)]
    own = [Line(f.f_code.co_filename, n) for frames in inside for f, n in _within(frames) if _own(f.f_code.co_filename)]
    if own:
        return own[-1]
    noted = (line for frames in reversed(inside) for frame, _ in reversed(frames) for line in _operators(frame))
    return next(noted, None) or next(_lines(str(fault)), None)


def module_at(fault: BaseException, network: torch.nn.Module) -> str | None:
    """The innermost module of the network that was running, by its name."""
    names = {id(module): name for name, module in network.named_modules()}
    inside = [frame for cause in _causes(fault) for frame, _ in traceback.walk_tb(cause.__traceback__)]
    found = [names[id(it)] for frame in inside if id(it := frame.f_locals.get("self")) in names]
    return found[-1] if found else None


def _within(frames: list[tuple[FrameType, int]]) -> list[tuple[FrameType, int]]:
    """Those inside of the outermost module that was running: the others called the export."""
    first = (i for i, (frame, _) in enumerate(frames) if isinstance(frame.f_locals.get("self"), torch.nn.Module))
    return frames[next(first, len(frames)) :]


def _operators(frame: FrameType) -> Iterator[Line]:
    """What the operators that a frame of an exporter works on say of their origin, innermost first."""
    for value in list(frame.f_locals.values()):
        if isinstance(value, torch.fx.Node) and value.stack_trace:
            yield from _lines(value.stack_trace, outermost_first=True)
        elif isinstance(value, torch._C.Node):
            yield from _lines(str(value.sourceRange()))


def _lines(text: str, outermost_first: bool = False) -> Iterator[Line]:
    """Places that a text names, innermost first, up to where the export was called."""
    found = [Line(file, int(number)) for file, number in _PLACE.findall(text)]
    for line in reversed(found) if outermost_first else found:
        if line.file == exporters.__file__:
            return
        if _own(line.file):
            yield line


def _causes(fault: BaseException) -> Iterator[BaseException]:
    """Outermost first."""
    seen: BaseException | None = fault
    while seen is not None:
        yield seen
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)


@cache
def _own(file: str) -> bool:
    """Is it neither of these packages nor of Python itself?"""
    path = Path(file)
    return path.is_absolute() and path.exists() and not any(path.is_relative_to(folder) for folder in _foreign())


@cache
def _foreign() -> tuple[Path, ...]:
    found = (find_spec(name) for name in _OTHERS)
    folders = [Path(str(folder)) for spec in found if spec for folder in spec.submodule_search_locations or ()]
    site = Path(sysconfig.get_path("purelib"))
    standard = [p for p in Path(sysconfig.get_path("stdlib")).iterdir() if p != site and p.name != "site-packages"]
    return (*folders, *standard)
