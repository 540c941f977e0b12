"""Will it run there? A verdict a node of the network, for one target, and what to use instead.

native      the target has it
falls back  it runs, by a detour that costs time: as its definition, in plain loops, on another processor
refused     the target does not take it, or takes it and answers something else
unknown     it could not be asked: the node passes no tensor, or one whose shape nobody could tell
"""

import importlib
import pkgutil
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from hasten.diagnose.single import first_call, settled, singles
from hasten.diagnose.target import Subject, Target, Word
from hasten.errors import ContractError, MissingError, unknown
from hasten.model import Arrays, OnnxModel

WORDS: tuple[Word, ...] = ("native", "falls back", "refused", "unknown")


@dataclass(frozen=True)
class Verdict:
    """One node.

    Attributes:
        node: its name, or that of its first output.
        op: operator.
        module: the user's module that it belongs to; empty where nobody has said.
        word: one of `WORDS`.
        why: empty where it is simply native.
        instead: what to use in its place; empty where nothing is wrong, or nothing is known.
    """

    node: str
    op: str
    module: str
    word: Word
    why: str
    instead: str


@dataclass(frozen=True)
class Support:
    """What a target makes of a network.

    Attributes:
        target: name of its file.
        said: who accepts what is native, with the version.
        estimate: whether rules were applied, and nobody was asked.
        rows: a node each, in the order of the graph.
        figures: of the whole, by name.
        remarks: sentences on the whole.
        refusal: why the whole is refused where no single node is.
    """

    target: str
    said: str
    estimate: bool
    rows: tuple[Verdict, ...]
    figures: Mapping[str, float] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    refusal: str = ""

    @property
    def accepted(self) -> bool:
        """Nothing is refused; what falls back is accepted."""
        return not self.refusal and all(row.word != "refused" for row in self.rows)

    @property
    def native(self) -> bool:
        """Every node is native."""
        return not self.refusal and all(row.word == "native" for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        told = {word: sum(row.word == word for row in self.rows) for word in WORDS}
        return {
            "target": self.target,
            "said": self.said,
            "estimate": self.estimate,
            "accepted": self.accepted,
            "counts": told,
            "nodes": [asdict(row) for row in self.rows],
            "figures": dict(self.figures),
            "remarks": list(self.remarks),
            "refusal": self.refusal,
        }


def check(model: OnnxModel, target: str, inputs: Arrays, seed: int = 0, **settings: Any) -> Support:
    """A verdict a node.

    Args:
        model: one that the gate has let through.
        target: name of a file of `targets/`.
        inputs: input name -> samples [N, ...]; the first call's worth of them says how long free axes are, and which
            whole numbers the nodes get.
        seed: of the floats that single nodes are given.
        settings: fields of the target.

    Raises:
        UsageError: there is no such target.
        MissingError: it cannot be asked on this machine.
    """
    asked = target_named(target)(**settings)
    if reason := asked.missing():
        raise MissingError(f"the target {target} cannot be asked here", reason)
    feed = first_call(model, inputs)
    free = dict.fromkeys(a for t in model.signature.inputs for a in t.shape if isinstance(a, str))
    whole = OnnxModel(settled(model.proto, feed))
    subject = Subject(whole, feed, tuple(singles(whole, feed, seed)), tuple(free))
    found = asked.look(subject)
    rows = tuple(
        Verdict(s.name, s.node.op_type, s.module, t.word, t.why, instead(s.node.op_type, target, t.word))
        for s, t in zip(subject.singles, found.told, strict=True)
    )
    return Support(target, asked.said, asked.estimate, rows, found.figures, found.remarks, found.refusal)


@cache
def targets() -> Mapping[str, type[Target]]:
    """The classes of `targets/`, by the name of their file."""
    folder = importlib.import_module("hasten.diagnose.targets")
    names = sorted(e.name for e in pkgutil.iter_modules(folder.__path__) if not e.name.startswith("_"))
    return {name: _class(importlib.import_module(f"{folder.__name__}.{name}")) for name in names}


def target_named(name: str) -> type[Target]:
    """
    Raises:
        UsageError: there is no such target; the nearest name is offered.
    """
    if name not in targets():
        raise unknown("target", name, targets())
    return targets()[name]


def instead(op: str, target: str, word: Word) -> str:
    """What to use in the place of an operator that a target does not have, by the table of its family."""
    if word in ("native", "unknown"):
        return ""
    families = tomllib.loads(Path(__file__).with_name("instead.toml").read_text())["family"]
    found: Mapping[str, Any] = next((family for family in families if op in family["ops"]), {})
    return str(found.get(target, found.get("instead", "")))


def _class(module: Any) -> type[Target]:
    own = [c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__]
    kinds = [c for c in own if issubclass(c, Target)]
    if len(kinds) != 1:
        raise ContractError(f"{module.__name__} defines {len(kinds)} targets", "one file, one")
    return kinds[0]
