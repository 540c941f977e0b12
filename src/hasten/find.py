"""The file is the registration: techniques and engines are whatever files lie in their folders.

Another package adds its own through the entry-point group `hasten`, each entry naming a class.
"""

import importlib
import pkgutil
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from hasten.engine import Engine
from hasten.errors import ContractError, unknown
from hasten.technique import Technique

if TYPE_CHECKING:
    from hasten.boards._board import Board

TECHNIQUE_FOLDERS = ("hasten.compress", "hasten.graph")


def _listed(folder: str, kind: type) -> dict[str, type]:
    found = {}
    for entry in pkgutil.iter_modules(importlib.import_module(folder).__path__):
        if entry.name.startswith("_"):
            continue
        module = importlib.import_module(f"{folder}.{entry.name}")
        own = (c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__)
        classes = [c for c in own if issubclass(c, kind)]
        if len(classes) > 1:
            raise ContractError(f"{module.__name__} defines {len(classes)} classes of {kind.__name__}", "one file, one")
        if classes:
            found[entry.name] = classes[0]
    return found


def _added(kind: type) -> dict[str, type]:
    found = {}
    for entry in entry_points(group="hasten"):
        loaded = entry.load()
        if isinstance(loaded, type) and issubclass(loaded, kind):
            if loaded.__module__.rpartition(".")[2] != entry.name:
                raise ContractError(
                    f"the entry point {entry.name!r} names {loaded.__module__}.{loaded.__name__}",
                    "call the file like the entry: recipes print its name",
                )
            found[entry.name] = loaded
    return found


def _merged(ours: dict[str, type], added: dict[str, type]) -> dict[str, type]:
    if both := sorted(ours.keys() & added.keys()):
        raise ContractError(f"another package adds {both[0]!r}, which hasten has", "rename the one that is added")
    return ours | added


@cache
def techniques() -> dict[str, type[Technique]]:
    """Every technique by the name of its file, torch and ONNX alike."""
    ours = {name: c for folder in TECHNIQUE_FOLDERS for name, c in _listed(folder, Technique).items()}
    return _merged(ours, _added(Technique))


@cache
def engines() -> dict[str, type[Engine]]:
    """Every engine by the name of its file, present on this machine or not (`Engine.missing` says)."""
    return _merged(_listed("hasten.engines", Engine), _added(Engine))


@cache
def boards() -> "dict[str, type[Board]]":
    """Every board by the name of its file, with - for _."""
    from hasten.boards._board import Board

    return {name.replace("_", "-"): kind for name, kind in _listed("hasten.boards", Board).items()}


def board(name: str) -> "type[Board]":
    """
    Raises:
        UsageError: there is no such board; the nearest name is offered.
    """
    if name not in boards():
        raise unknown("board", name, boards())
    return boards()[name]


def technique(name: str) -> type[Technique]:
    """
    Raises:
        UsageError: there is no such technique; the nearest name is offered.
    """
    if name not in techniques():
        raise unknown("technique", name, techniques())
    return techniques()[name]


def engine(name: str) -> type[Engine]:
    """
    Raises:
        UsageError: there is no such engine; the nearest name is offered.
    """
    if name not in engines():
        raise unknown("engine", name, engines())
    return engines()[name]
