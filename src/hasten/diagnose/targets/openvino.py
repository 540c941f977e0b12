"""openvino: asked to read and compile every node, and to answer.

It refuses what its frontend cannot convert. It falls back where its reference code runs a node in plain loops. And what
it answers is held against ONNX Runtime and ONNX's own evaluator: an attribute that it drops in silence is a refusal.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hasten.diagnose.probing import probed
from hasten.diagnose.single import Single
from hasten.diagnose.target import Target, Told
from hasten.diagnose.traced import pack, unpack
from hasten.engines.openvino import OpenVino
from hasten.errors import InputError

_PLAIN = "Reference"  # its word for code in plain loops


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
        from hasten.model import OnnxModel

        model = OnnxModel.load(path)
        try:
            with OpenVino(threads=1).compile(model) as session:
                plain = [layer for layer in session.compiled.layers() if layer.op == _PLAIN]
                answer = session.compiled.run(unpack(Path(path).with_name("feed.npz"), inputs))
                pack(Path(made), {name: answer[name] for name in outputs})
        except InputError as fault:
            return {"word": "refused", "why": fault.what.removeprefix("openvino refuses the model: ")}
        except RuntimeError as fault:
            return {"word": "refused", "why": f"fails when it runs: {(str(fault).splitlines() or [''])[-1][:200]}"}
        why = "it has no kernel for the CPU: its reference code runs in plain loops" if plain else ""
        return {"word": "falls back" if plain else "native", "why": why}
