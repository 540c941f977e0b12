"""dla: an estimate by the rules that NVIDIA publishes of the accelerator on Jetson Orin. Not verified on hardware.

What the DLA does not take, TensorRT gives to the GPU: it falls back. Each change of processor costs a copy and a wait,
so that the number of changes matters as much as the share of the arithmetic. What TensorRT folds away before it assigns
layers (constants, shapes, Identity, a cast between floats) runs on neither.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hasten.diagnose.single import Single
from hasten.diagnose.target import Found, Subject, Target, Told
from hasten.diagnose.targets._dla_rules import RULES, Layer
from hasten.measure.flops import count


@dataclass(frozen=True)
class Dla(Target):
    """Which layers the DLA takes."""

    @classmethod
    def missing(cls) -> str | None:
        return None

    @property
    def said(self) -> str:
        return f"DLA, by the published rules of {rules()['source']['version']}"

    @property
    def estimate(self) -> bool:
        return True

    def told(self, singles: Sequence[Single]) -> list[Told]:
        return [_told(Layer.of(single)) for single in singles]

    def look(self, subject: Subject) -> Found:
        """And how much of the whole that is."""
        layers = [Layer.of(single) for single in subject.singles]
        told = [_told(layer) for layer in layers]
        on = [None if layer.folded else t.word == "native" for layer, t in zip(layers, told, strict=True)]
        placed = [o for o in on if o is not None]
        macs = {w.node: w.macs for w in count(subject.model).work}
        work = [macs.get(single.name, 0) for single in subject.singles]
        taken = sum(m for m, o in zip(work, on, strict=True) if o)
        levels, loadables = stretches(subject, on)
        figures = {
            "nodes": len(placed),
            "nodes_share": sum(placed) / max(1, len(placed)),
            "macs_share": taken / sum(work) if sum(work) else float(all(placed)),
            "switches": levels,
            "loadables": loadables,
        }
        return Found(told, figures, _remarks(subject, loadables))


@cache
def rules() -> Mapping[str, Any]:
    """The limits of dla.toml."""
    return tomllib.loads(Path(__file__).with_name("dla.toml").read_text())


def _told(layer: Layer) -> Told:
    if layer.folded:
        return Told("native", "folded away when the engine is built")
    table, op = rules(), layer.node.op_type
    if op in table["not"]:
        return Told("falls back", f"on the GPU: {table['not'][op]}")
    kind = next((name for name, limits in table["layer"].items() if op in limits["ops"]), None)
    if kind is None or layer.node.domain not in ("", "ai.onnx"):
        return Told("falls back", f"on the GPU: {op} is not among the layers of the DLA")
    why = layer.general(table) or RULES[kind](layer, table["layer"][kind])
    return Told("falls back", f"on the GPU: {why}") if why else Told("native")


def stretches(subject: Subject, on: list[bool | None]) -> tuple[int, int]:
    """Changes of processor on the way through, and stretches that the DLA runs, each a loadable.

    A node's level is the largest of the levels before it, one more where the processor changes; nodes of one level
    and processor that hang together are a stretch. Nodes on neither (None) pass on what is before them.
    """
    level: dict[str, tuple[bool, int, int]] = {}  # value -> on the DLA, level, stretch
    parents: list[int] = []

    def root(i: int) -> int:
        while parents[i] != i:
            i = parents[i]
        return i

    for single, here in zip(subject.singles, on, strict=True):
        before = [level[n] for n in single.node.input if n in level]
        if here is None:
            if before:
                level |= {n: max(before, key=lambda b: b[1]) for n in single.node.output if n}
            continue
        depth = max((lv + (was != here) for was, lv, _ in before), default=0)
        mine = len(parents)
        parents.append(mine)
        for was, lv, stretch in before:
            if was == here and lv == depth:
                parents[root(stretch)] = root(mine)
        level |= {n: (here, depth, mine) for n in single.node.output if n}
    deepest = max((lv for _, lv, _ in level.values()), default=0)
    return deepest, len({root(s) for was, _, s in level.values() if was})


def _remarks(subject: Subject, loadables: int) -> tuple[str, ...]:
    most, said = rules()["general"]["loadables"], []
    if subject.free:
        said.append(f"the DLA takes no free axes: {', '.join(subject.free)} are held at the lengths of the sample")
    if loadables > most:
        said.append(f"{loadables} stretches are more than the {most} that a core holds at a time")
    return tuple(said)
