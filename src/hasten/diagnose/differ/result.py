"""What a comparison found: outputs, layers, the first that differs by itself, and what it comes from."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from hasten.diagnose.differ.layers import Layer
from hasten.diagnose.differ.side import Side
from hasten.diagnose.differ.together import Together

WORST, ALONE = 10, 20  # layers, and tensors without a partner, that are told
Cause = Literal["none", "layer", "fusing", "sum", "export", "unknown"]


@dataclass(frozen=True)
class Output:
    """One output beside that of the reference; `agreement` is None where its rows decide nothing."""

    name: str
    partner: str
    max_abs: float
    error: float
    cosine: float
    agreement: float | None


@dataclass(frozen=True)
class Difference:
    """
    Attributes:
        ref, other: the side that is believed, and the one that is asked.
        tolerance: of `error` and `own`: a share of the largest magnitude of the reference.
        samples: how many the outputs were compared on, and the layers.
        layers: every one, in the order of the other's graph; none where they could not be looked at.
        cause: of outputs that differ.
        together: the row of layers that only together err, where that is the cause; `on_ref`: in the reference.
        alone: tensors of the reference, and of the other, that have no partner there.
        why: what keeps from looking at layers, or at rows of them.
    """

    ref: Side
    other: Side
    tolerance: float
    samples: tuple[int, int]
    outputs: tuple[Output, ...]
    cause: Cause
    layers: tuple[Layer, ...] = ()
    together: Together | None = None
    on_ref: bool = False
    alone: tuple[Sequence[str], Sequence[str]] = ((), ())
    why: str = ""

    @property
    def same(self) -> bool:
        return all(output.error <= self.tolerance for output in self.outputs)

    @property
    def first(self) -> Layer | None:
        """The first whose own error is above the tolerance."""
        return next((layer for layer in self.layers if layer.own > self.tolerance), None)

    @property
    def worst(self) -> list[Layer]:
        """Of those that have errors of their own, the largest first."""
        return sorted((layer for layer in self.layers if layer.own > 0), key=lambda layer: -layer.own)[:WORST]

    @property
    def verdict(self) -> str:
        """One sentence."""
        first = self.first and f"{named(self.first)} differs by {share(self.first.own)} by itself"
        if self.same:
            return f"the outputs are the same within {share(self.tolerance)}" + (f"; {first}" if first else "")
        if self.cause == "layer":
            return f"the outputs differ, and {first}: it is the first layer to do so"
        if self.cause == "fusing" and self.together:
            side = self.ref if self.on_ref else self.other
            row = " to ".join(dict.fromkeys((self.together.names[0], self.together.names[-1])))
            return (
                f"the outputs differ: {row} of {side.name} differ by {share(self.together.error)} where {side.layers} "
                f"has them together, and by {share(self.together.cut)} where they are cut: its fusing is the cause"
            )
        return {
            "sum": "the outputs differ, and no layer by itself: small errors add up",
            "export": "the outputs differ, and no layer by itself: torch differs from its own export",
        }.get(self.cause, f"the outputs differ; the layers were not compared: {self.why}")

    def to_json(self) -> dict[str, Any]:
        """As in spec/diff.schema.json, without what every result has."""
        together = self.together and {
            "side": self.ref.name if self.on_ref else self.other.name,
            "layers": list(self.together.names),
            "error": self.together.error,
            "cut": self.together.cut,
        }
        return {
            "reference": side_json(self.ref),
            "other": side_json(self.other),
            "tolerance": self.tolerance,
            "same": self.same,
            "verdict": self.verdict,
            "cause": self.cause,
            "samples": self.samples[0],
            "layer_samples": self.samples[1],
            "outputs": [asdict(output) for output in self.outputs],
            "first": self.first and layer_json(self.first),
            "worst": [layer_json(layer) for layer in self.worst],
            "layers": len(self.layers),
            "not_run": [layer_json(layer) for layer in self.layers if layer.reason],
            "together": together,
            "without_partner": {
                name: {"count": len(tensors), "tensors": list(tensors[:ALONE])}
                for name, tensors in zip(("reference", "other"), self.alone, strict=True)
            },
            "why": self.why,
        }


def side_json(side: Side) -> dict[str, Any]:
    return {"name": side.name, "engine": str(side.engine), "layers_on": str(side.layers), "precision": side.precision}


def layer_json(layer: Layer) -> dict[str, Any]:
    shown = asdict(layer)
    del shown["piece"]
    return {k: list(v) if isinstance(v, tuple) else v for k, v in shown.items()}


def named(layer: Layer) -> str:
    """`stages.0.conv1 (Conv)`, and the node's own name where it is another."""
    own = layer.nodes[-1] if layer.nodes else ""
    node = f" {own}" if own and own != layer.module else ""
    return f"{layer.module} ({' + '.join(layer.ops[-3:])}{node})"


def share(value: float) -> str:
    """Of the largest magnitude: `3.2e-05`."""
    return f"{value:.2g}"
