"""The files beside a task file (net.py, data.py) are its own: another task may have files of the same names.

While a task's code runs, `import net` means the net.py in its folder, at the top of the file as well as inside a
function that is called much later. The modules stay importable after that, as exporters and pickles expect, until
another task runs: then they are put away, and come back with their task.
"""

import contextlib
import importlib
import sys
from pathlib import Path
from types import ModuleType

from hasten.files import sha256

_KEPT = ("hasten", "__main__")
_away: dict[Path, dict[str, ModuleType]] = {}  # folder -> its modules, while another folder is at home
_home: list[Path] = []  # the folder that is imported from now; empty before the first task


def settle(folder: Path) -> None:
    """Make `folder` the one whose files are imported by their bare names."""
    if _home == [folder]:
        return
    for left in _home:
        _away[left] = _taken(left)
        with contextlib.suppress(ValueError):
            sys.path.remove(str(left))
    stems = {p.stem for p in folder.glob("*.py")} | {p.parent.name for p in folder.glob("*/__init__.py")}
    for name in [n for n in sys.modules if n.partition(".")[0] in stems and _foreign(n.partition(".")[0], folder)]:
        del sys.modules[name]  # a file of that name from elsewhere; installed packages and Python's own are left alone
    sys.modules.update(_away.pop(folder, {}))
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    _home[:] = [folder]


def code(task: Path) -> dict[str, str]:
    """SHA-256 of the Python files that are a task file's own, itself among them, by their path in its folder."""
    folder = task.parent
    packages = (found for p in folder.glob("*/__init__.py") for found in p.parent.rglob("*.py"))
    return {str(p.relative_to(folder)): sha256(p) for p in sorted({*folder.glob("*.py"), *packages})}


def is_home(folder: str) -> bool:
    """Whether it is the folder that was settled last."""
    return [Path(folder)] == _home


def _taken(folder: Path) -> dict[str, ModuleType]:
    """The modules of a folder, taken out of sys.modules."""
    tops = {n for n, m in list(sys.modules.items()) if "." not in n and n not in _KEPT and _origin(m) == folder}
    return {n: sys.modules.pop(n) for n in list(sys.modules) if n.partition(".")[0] in tops}


def _foreign(top: str, folder: Path) -> bool:
    origin = _origin(sys.modules.get(top))
    installed = (sys.prefix, sys.base_prefix, *(p for p in sys.path if p.endswith("-packages")))
    return (
        origin is not None
        and origin != folder
        and top not in _KEPT
        and not any(origin.is_relative_to(p) for p in installed)
    )


def _origin(module: ModuleType | None) -> Path | None:
    """The folder in which a top-level module or package lies; None for what has no file."""
    file = getattr(module, "__file__", None)
    if not file:
        return None
    path = Path(file).resolve()
    return path.parent.parent if path.name == "__init__.py" else path.parent
