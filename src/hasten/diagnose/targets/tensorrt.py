"""tensorrt: NVIDIA's own parser, out of TensorRT-RTX, is asked about every node and then about the whole graph.

No GPU is needed, and nothing runs: what is native is accepted by this parser, and with `build` by its builder, which
compiles ahead of time. TensorRT on a board or a server has a parser of another version.
"""

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hasten.child import Child, ChildDied
from hasten.diagnose.probing import probed
from hasten.diagnose.single import Single
from hasten.diagnose.target import Found, Subject, Target, Told
from hasten.engines import _rtx

PARSE_S, BUILD_S, MEMORY_MB = 120.0, 600.0, 6000
_PROFILE = "no optimization profile"  # is missing where an input is a shape, which in the whole comes from inside
NARROWS = {"DOUBLE": "it is computed in float32: TensorRT has no float64"}


@dataclass(frozen=True)
class TensorRtTarget(Target):
    """Which nodes TensorRT-RTX's parser accepts."""

    build: bool = False  # compile the whole ahead of time, too

    @classmethod
    def missing(cls) -> str | None:
        return _rtx.missing()

    @property
    def said(self) -> str:
        return f"accepted by {_rtx.release()}"

    def told(self, singles: Sequence[Single]) -> list[Told]:
        """What only depends on shapes is not asked alone: as an input it would be another thing than in the whole."""
        asked = [single for single in singles if not single.folded]
        answers = iter(probed(asked, f"{__name__}:Prober", f"tensorrt_rtx-{_rtx.version()}"))
        return [Told("native") if single.folded else next(answers) for single in singles]

    def look(self, subject: Subject) -> Found:
        """And where they stand together, since some nodes are only taken beside others, or refused there."""
        told = self.told(subject.singles)
        with tempfile.TemporaryDirectory(prefix="hasten-") as folder:
            path = subject.model.save(Path(folder) / "whole.onnx").path
            limit = int(MEMORY_MB + 8 * subject.model.size_mb)
            with Child(f"{__name__}:Prober", memory_mb=limit) as child:
                try:
                    whole = child.call("whole", BUILD_S if self.build else PARSE_S, path=str(path), build=self.build)
                except ChildDied as fault:
                    return Found(told, refusal=f"the parser {_ended(fault)} on the whole graph")
        return _joined(subject, told, whole, self.build)


def _joined(subject: Subject, told: Sequence[Told], whole: Mapping[str, Any], build: bool) -> Found:
    """What was said of single nodes, and what the parser only says where they stand together."""
    faults = {name: why for name, why in whole["faults"] if name}
    names = [single.name for single in subject.singles]
    both = [
        replace(t, word="refused", why=f"where it stands: {faults[n]}") if n in faults and t.word != "refused" else t
        for n, t in zip(names, told, strict=True)
    ]
    refused = any(t.word == "refused" for t in both)
    refusal = (
        "" if refused or whole["parsed"] else f"the whole graph is refused: {'; '.join(w for _, w in whole['faults'])}"
    )
    if not build or refused or refusal:
        return Found(both, refusal=refusal)
    if not whole["engine_mb"]:
        return Found(both, refusal=f"the builder refuses it: {whole['why']}")
    figures = {"engine_mb": whole["engine_mb"], "build_s": whole["build_s"]}
    remark = f"built ahead of time, without a GPU: {figures['engine_mb']:.1f} MB after {figures['build_s']:.1f} s"
    return Found(both, figures, (remark,))


class Prober:
    """The child's side."""

    def probe(self, path: str, inputs: Sequence[str], outputs: Sequence[str], made: str) -> dict[str, str]:
        import onnx

        content = Path(path).read_bytes()
        opened = _rtx.opened()
        if not opened.parser.parse(content):
            return {"word": "refused", "why": _why(opened)}
        if inputs and not _built(opened) and _PROFILE not in (why := _why(opened)):
            return {"word": "refused", "why": f"the builder refuses it: {why}"}
        graph = onnx.ModelProto.FromString(content).graph
        kinds = {onnx.TensorProto.DataType.Name(v.type.tensor_type.elem_type) for v in graph.input}
        why = next((NARROWS[k] for k in kinds if k in NARROWS), "")
        return {"word": "falls back" if why else "native", "why": why}

    def whole(self, path: str, build: bool) -> dict[str, Any]:
        """Whether the parser takes the graph, its complaints by node, and, with `build`, what the builder makes."""
        import onnx

        content = Path(path).read_bytes()
        opened = _rtx.opened()
        parsed = bool(opened.parser.parse(content))
        names = [
            n.name or next(filter(None, n.output), n.op_type) for n in onnx.ModelProto.FromString(content).graph.node
        ]
        faults = [(names[f.place] if 0 <= f.place < len(names) else "", f.why) for f in opened.faults()]
        said = {"parsed": parsed, "faults": faults, "engine_mb": 0.0, "build_s": 0.0, "why": ""}
        if not (parsed and build):
            return said
        began = time.monotonic()
        return said | {"engine_mb": _built(opened), "build_s": time.monotonic() - began, "why": _why(opened)}


def _built(opened: _rtx.Opened) -> float:
    """Size of the engine in MB; 0 where the builder makes none."""
    engine = opened.builder.build_serialized_network(opened.network, opened.builder.create_builder_config())
    return float(engine.nbytes) / 1e6 if engine is not None else 0.0


def _why(opened: _rtx.Opened) -> str:
    """The parser's own words, without places in its source."""
    found = [fault.why for fault in opened.faults()] or [_rtx.plain(s) for kind, s in opened.said if "ERROR" in kind]
    return found[0] if found else "no reason given"


def _ended(fault: ChildDied) -> str:
    return fault.what.partition(":Prober ")[2].partition(": ")[0] or fault.what
