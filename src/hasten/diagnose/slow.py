"""Why is it not faster? What was measured of one file on one engine, and the reasons that hold, most time first.

A reason is a file in `reasons/`, and the file is its registration: `look(seen)` yields findings, or nothing. It decides
by what was measured, and measures more where that settles it; what it takes from constants it says.

The time of a layer is claimed once, by the reason that says most of it: one that could hold for many kinds of layers
has a `REST`, is asked after those without or with a lower one, and looks at what they have left.
"""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import onnx

from hasten.engine import Engine
from hasten.measure._tensors import Tensors
from hasten.measure.latency import Race
from hasten.model import OnnxModel
from hasten.provenance import label, nodes

SHOWN = 5  # layers of a finding that are named
FASTER = 1.05  # by which another engine has to be, to be worth a change


@dataclass(frozen=True)
class Finding:
    """One reason.

    Attributes:
        reason: name of its file.
        what: one sentence, with figures.
        ms: of a call that it holds, or costs.
        remedy: one sentence.
        apply: the remedy for a program, see `hasten.diagnose.remedy`; None where only people can do it.
        layers: the user's modules, or the engine's names, that it is about; the most time first.
        figures: what the sentence rests on.
        claims: places among `Evidence.layers` of those whose time it holds.
    """

    reason: str
    what: str
    ms: float
    remedy: str
    apply: Mapping[str, Any] | None = None
    layers: tuple[str, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)
    claims: frozenset[int] = frozenset()

    def to_json(self) -> dict[str, Any]:
        shown = asdict(self) | {"layers": list(self.layers)}
        del shown["claims"]
        return shown


class Times(Protocol):
    """Races files, each on an engine with settings; the first entrant is what the others are compared with."""

    def __call__(self, entrants: Sequence[tuple[Path, Engine]], feed: Mapping[str, Any] | None = None, /) -> Race: ...


@dataclass(frozen=True)
class Evidence:
    """What was measured of one file on one engine.

    Attributes:
        model: the file; it has a path.
        engine: with its settings, threads among them.
        row: of `hasten measure --roofline`: latency, throughput, and `roofline` with the layers.
        others: rows of the same file on other engines.
        isa: instruction sets of the processor, in the kernel's words.
        axes: length of free axes other than the batch, by name.
        times: races files.
        claimed: places of layers whose time a reason holds already.
    """

    model: OnnxModel
    engine: Engine
    row: Mapping[str, Any]
    others: Sequence[Mapping[str, Any]]
    isa: Sequence[str]
    axes: Mapping[str, int]
    times: Times
    claimed: frozenset[int] = frozenset()

    @cached_property
    def layers(self) -> Sequence[Mapping[str, Any]]:
        """What keeping the account costs is taken off in equal parts, so that they fit into a call."""
        share = min(1.0, self.ms / self.row["roofline"]["profiled_ms"])
        found = self.row["roofline"]["layers"]
        return [layer | {"ms": share * layer["ms"], "place": place} for place, layer in enumerate(found)]

    @property
    def rest(self) -> Sequence[Mapping[str, Any]]:
        """Layers whose time no reason holds yet."""
        return [layer for layer in self.layers if layer["place"] not in self.claimed]

    @property
    def ms(self) -> float:
        """Of a call."""
        return float(self.row["latency_p50_ms"])

    @property
    def engine_name(self) -> str:
        return type(self.engine).__module__.rpartition(".")[2]

    @cached_property
    def tensors(self) -> Tensors:
        return Tensors(OnnxModel(label(self.model.proto)), self.axes)

    @cached_property
    def nodes(self) -> Mapping[str, onnx.NodeProto]:
        """Of the file, by name or first output, as layers name them."""
        return {node.name or node.output[0]: node for node in nodes(self.tensors.graph)}

    def of(self, layer: Mapping[str, Any], *ops: str) -> list[onnx.NodeProto]:
        """The layer's nodes, of these operators where any are named."""
        made = (self.nodes[name] for name in layer["of"] if name in self.nodes)
        return [node for node in made if not ops or node.op_type in ops]


def explain(seen: Evidence) -> list[Finding]:
    """Every reason that holds, most time first."""
    found: list[Finding] = []
    for reason in sorted(reasons().values(), key=lambda reason: getattr(reason, "REST", 0)):
        left = replace(seen, claimed=frozenset[int]().union(*(finding.claims for finding in found)))
        found += reason.look(left)
    return sorted(found, key=lambda finding: -finding.ms)


def reasons() -> dict[str, Any]:
    """The modules of `reasons/`, by name."""
    folder = importlib.import_module("hasten.diagnose.reasons")
    names = sorted(entry.name for entry in pkgutil.iter_modules(folder.__path__) if not entry.name.startswith("_"))
    return {name: importlib.import_module(f"{folder.__name__}.{name}") for name in names}


def held(layers: Sequence[Mapping[str, Any]]) -> float:
    """ms of these layers together."""
    return float(sum(layer["ms"] for layer in layers))


def places(layers: Sequence[Mapping[str, Any]]) -> frozenset[int]:
    """What a finding claims that holds the time of these layers."""
    return frozenset(layer["place"] for layer in layers)


def named(layers: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The modules that take most time; the engine's name where there is none."""
    ordered = sorted(layers, key=lambda layer: -layer["ms"])
    return tuple(dict.fromkeys(", ".join(layer["modules"]) or layer["layer"] for layer in ordered))[:SHOWN]


def within(seen: Evidence, layers: Sequence[Mapping[str, Any]]) -> float:
    """Share of the time of all layers."""
    return held(layers) / (held(seen.layers) or 1.0)


def faster(seen: Evidence) -> Mapping[str, Any] | None:
    """The row of the fastest other engine or precision, where it is faster with the same file."""
    others = (row for row in seen.others if not row["reason"])
    best = min(others, key=lambda row: row["latency_p50_ms"], default=None)
    return best if best and FASTER * best["latency_p50_ms"] < seen.ms else None


def differences(slow: Evidence, fast: Evidence) -> Iterator[dict[str, Any]]:
    """What each module takes in one and in the other, the largest difference first; for two files of one network."""

    def by_module(seen: Evidence) -> dict[str, float]:
        found: dict[str, float] = {}
        for layer in seen.layers:
            name = layer["modules"][0] if layer["modules"] else layer["op"]
            found[name] = found.get(name, 0.0) + layer["ms"]
        return found

    a, b = by_module(slow), by_module(fast)
    for name in sorted({**a, **b}, key=lambda name: -abs(a.get(name, 0.0) - b.get(name, 0.0))):
        yield {"module": name, "ms": a.get(name, 0.0), "other_ms": b.get(name, 0.0)}


def with_settings(engine: Engine, **settings: Any) -> Engine:
    return replace(engine, **settings)
