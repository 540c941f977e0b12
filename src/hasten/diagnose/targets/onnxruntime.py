"""onnxruntime: asked for a session on every node, and then which operators it would run.

It refuses what it has no kernel for. It falls back where it runs an operator as the function that defines it, computes
half-precision floats in single precision between casts, or leaves a node to the CPU though another provider was asked.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hasten.diagnose.probing import probed
from hasten.diagnose.single import Single
from hasten.diagnose.target import Target, Told
from hasten.diagnose.traced import pack, unpack
from hasten.engines.onnxruntime import OnnxRuntime
from hasten.errors import MissingError

CPU = "CPUExecutionProvider"
_CASTS = "InsertedPrecisionFreeCast"  # how it calls the nodes that it puts around those without a half-precision kernel


@dataclass(frozen=True)
class OnnxRuntimeTarget(Target):
    """Which nodes ONNX Runtime runs."""

    provider: str = CPU  # that is to run them

    @classmethod
    def missing(cls) -> str | None:
        return OnnxRuntime.missing()

    @property
    def said(self) -> str:
        return f"ONNX Runtime {OnnxRuntime.version()}, {self.provider}"

    def told(self, singles: Sequence[Single]) -> list[Told]:
        """
        Raises:
            MissingError: this build has no such provider.
        """
        import onnxruntime as ort

        if self.provider not in (has := ort.get_available_providers()):
            raise MissingError(
                f"this ONNX Runtime has no {self.provider}", f"it has {', '.join(has)}: install the build that has it"
            )
        name = f"onnxruntime-{OnnxRuntime.version()}-{self.provider}"
        return probed(singles, f"{__name__}:Prober", name, settings={"provider": self.provider})


class Prober:
    """The child's side."""

    def probe(
        self, path: str, inputs: Sequence[str], outputs: Sequence[str], made: str, provider: str
    ) -> dict[str, str]:
        import onnx

        node = onnx.load(path, load_external_data=False).graph.node[0]
        executed = Path(path).with_name("executed.onnx")
        executed.unlink(missing_ok=True)
        try:
            _session(path, [CPU], optimized=str(executed))
            session = _session(path, list(dict.fromkeys([provider, CPU])))
        except Exception as fault:
            return {"word": "refused", "why": _words(fault)}
        if provider != CPU and (elsewhere := _elsewhere(path, provider)):
            return {"word": "falls back", "why": elsewhere}
        try:
            pack(Path(made), dict(zip(outputs, session.run(list(outputs), _feed(path, inputs)), strict=True)))
        except Exception as fault:
            Path(made).unlink(missing_ok=True)
            if "NOT_IMPLEMENTED" in str(fault) or "RUNTIME_EXCEPTION" in str(fault):
                return {"word": "refused", "why": f"fails when it runs: {_words(fault)}"}
        why = _detour(node, onnx.load(str(executed), load_external_data=False).graph)
        return {"word": "falls back" if why else "native", "why": why}


def _session(path: str, providers: list[str], optimized: str = "", alone: bool = False) -> Any:
    """With every optimization; or with none, the graph that is executed written to `optimized`."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    if optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.optimized_model_filepath = optimized
    if alone:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return ort.InferenceSession(path, options, providers=providers)


def _elsewhere(path: str, provider: str) -> str:
    """Why the provider does not run it; empty where it does."""
    try:
        _session(path, [provider], alone=True)
    except Exception:
        return f"{provider} does not take it: it runs in {CPU}"
    return ""


def _detour(node: Any, graph: Any) -> str:
    """What is executed in place of the node; empty where it is the node."""
    ran = [n for n in graph.node if n.op_type != "Constant"]
    casts = [n for n in ran if n.name.startswith(_CASTS)]
    if casts:
        return "it has no half-precision kernel: computed in float32 between casts"
    if ran and all((n.op_type, n.domain) != (node.op_type, node.domain) for n in ran):
        ops = ", ".join(sorted({n.op_type for n in ran}))
        return f"it has no kernel: runs as its definition, {len(ran)} nodes of {ops}"
    return ""


def _feed(path: str, inputs: Sequence[str]) -> dict[str, Any]:
    return dict(unpack(Path(path).with_name("feed.npz"), inputs))


def _words(fault: Exception) -> str:
    """ONNX Runtime's own words, without its prefix, the path, and places in its source."""
    said = (str(fault).strip().splitlines() or [type(fault).__name__])[0].rpartition(" : ")[2]
    return re.sub(r"Load model from \S+ failed:|\S*/onnxruntime/\S+ ", "", said)[:300]
