"""openvino: asked to read and compile every node, and to answer.

It refuses what its frontend cannot convert. It falls back where its reference code runs a node in plain loops. And what
it answers is held against ONNX Runtime and ONNX's own evaluator: an attribute that it drops in silence is a refusal.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hasten.diagnose.probing import probed
from hasten.diagnose.single import Single
from hasten.diagnose.target import Target, Told
from hasten.diagnose.traced import pack, unpack
from hasten.engines.openvino import OpenVino, load, reason
from hasten.model import Arrays

_PLAIN = "Reference"  # its word for code in plain loops
SETTINGS = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}


@dataclass(frozen=True)
class OpenVinoTarget(Target):
    """Which nodes OpenVINO's CPU plugin runs, at f32."""

    @classmethod
    def missing(cls) -> str | None:
        return OpenVino.missing()

    @property
    def said(self) -> str:
        return f"OpenVINO {OpenVino.version()}, CPU at f32"

    def told(self, singles: Sequence[Single]) -> list[Told]:
        return probed(singles, f"{__name__}:Prober", f"openvino-{OpenVino.version()}", compares=True)


class Prober:
    """The child's side."""

    def probe(self, path: str, inputs: Sequence[str], outputs: Sequence[str], made: str) -> dict[str, str]:
        core = load().Core()
        try:
            compiled = core.compile_model(core.read_model(path), "CPU", SETTINGS)
        except RuntimeError as fault:
            return {"word": "refused", "why": reason(fault)}
        executed = (op.get_rt_info()["layerType"].astype(str) for op in compiled.get_runtime_model().get_ordered_ops())
        plain = _PLAIN in executed
        feed = unpack(Path(path).with_name("feed.npz"), inputs)
        try:
            answer = compiled.create_infer_request().infer(_placed(compiled.inputs, feed))
        except RuntimeError as fault:
            return {"word": "refused", "why": f"fails when it runs: {reason(fault)}"}
        pack(Path(made), dict(zip(outputs, answer.values(), strict=True)))
        why = "it has no kernel for the CPU: its reference code runs in plain loops" if plain else ""
        return {"word": "falls back" if plain else "native", "why": why}


def _placed(ports: Sequence[Any], feed: Arrays) -> dict[int, np.ndarray]:
    """By port: in their order, or by name where it took fewer than there are."""
    if len(ports) == len(feed):
        return dict(enumerate(feed.values()))
    return {i: feed[name] for i, port in enumerate(ports) for name in port.get_names() if name in feed}
