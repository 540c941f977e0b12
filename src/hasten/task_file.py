"""A task file is run: what goes wrong in the user's own code is told with its own line."""

import sys
import traceback
import zlib
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from hasten.errors import HastenError, InputError
from hasten.neighbours import settle


def run(path: Path) -> ModuleType:
    """What a file of Python defines, with its neighbours at hand.

    Raises:
        InputError: it does not exist, or raises.
    """
    if not path.is_file():
        raise InputError(
            f"{path} {'is a folder' if path.is_dir() else 'does not exist'}", "give the path of the task file"
        )
    spec = spec_from_file_location(f"hasten_task_{path.parent.name}_{zlib.crc32(bytes(path)):08x}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is not a Python file", "a task file is a .py that defines `task = Task(...)`")
    module = module_from_spec(spec)
    settle(path.parent)
    sys.modules[spec.name] = module  # as dataclasses, pickles and exporters expect of any module
    try:
        spec.loader.exec_module(module)
    except HastenError as fault:
        raise type(fault)(f"{path}: {fault.what}{place(fault, path)}", fault.mend) from fault
    except KeyboardInterrupt:
        raise
    except BaseException as fault:  # SystemExit too: a file that ends the process
        raise InputError(f"{path} raises {where(fault, path)}", "mend the task file") from fault
    return module


def where(fault: BaseException, path: Path | None) -> str:
    """`ValueError: text (task.py, line 12)`: the last line of the user's own file."""
    if isinstance(fault, SyntaxError) and fault.filename:
        return f"{type(fault).__name__}: {fault.msg} ({Path(fault.filename).name}, line {fault.lineno})"
    said = (str(fault).strip().splitlines() or [""])[0]
    return f"{type(fault).__name__}{f': {said}' if said else ''}{place(fault, path)}"


def place(fault: BaseException, path: Path | None) -> str:
    frames = traceback.extract_tb(fault.__traceback__)
    own = [f for f in frames if path and Path(f.filename).parent == path.parent]
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
