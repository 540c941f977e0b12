"""One side of a comparison: what answers, on which engine, and the graph whose layers are looked at."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from hasten.bundle import Bundle
from hasten.data import Data
from hasten.diagnose.differ.runner import Runs, answered
from hasten.diagnose.differ.stages import merged
from hasten.engine import Engine, available
from hasten.errors import InputError, MissingError, UsageError
from hasten.golden import SHARES
from hasten.model import OnnxModel, Signature, TorchModel
from hasten.task import Task

TOLERANCES = SHARES | {"f16": 2.0**-7}  # shares of the largest magnitude, by precision; f16: 16 spacings, as for bf16
_WIDTH = ("f32", "f16", "bf16", "i8")  # of precisions, the widest first


@dataclass(frozen=True)
class Side:
    """
    Attributes:
        name: as it was given.
        engine: that gives its answers.
        signature: of the whole.
        model: its layers, labelled with the user's modules; None where they cannot be looked at, and `why`.
        layers: the engine that they run on; that of the answers, unless it runs torch models.
        torch: the trained module, where torch gives the answers.
        bundle: its folder, where its own engines and stages give the answers.
    """

    name: str
    engine: Engine
    signature: Signature
    model: OnnxModel | None
    layers: Engine
    torch: TorchModel | None = None
    bundle: Path | None = None
    why: str = ""

    @property
    def precision(self) -> str:
        """The narrowest that it computes in: f32, f16, bf16, i8."""
        own = self.engine.precision if self.engine.precision in _WIDTH else "bf16"
        if self.model is None:
            return own
        stored = "i8" if self.model.quantized else "f16" if _half(self.model) else own
        return max(own, stored, key=_WIDTH.index)

    @property
    def width(self) -> tuple[int, bool]:
        """The smaller, the more it is the one to believe."""
        return _WIDTH.index(self.precision), self.torch is None

    def answers(self, runs: Runs, samples: Data) -> dict[str, np.ndarray]:
        """Outputs of the whole for these samples, [N, ...] each.

        Raises:
            HastenError: it cannot be run.
        """
        if self.torch is not None:
            with self.engine.compile(self.torch) as session:
                return answered(session, samples)
        if self.bundle is not None:
            return runs.bundled(self.bundle, samples)
        assert self.model is not None
        return runs.answers(self.model, samples)


def of_task(task: Task, name: str, engine: Engine | None = None) -> Side:
    """A task file, or a task of an ONNX file; torch answers for a trained module unless another engine is given.

    Raises:
        UsageError: the engine runs torch models, and there is a file.
        InputError: it cannot be read, or exported.
        MissingError: no engine for it is here.
    """
    original = task.original
    if isinstance(original, OnnxModel):
        engine = engine or _first()
        if engine.takes != "onnx":
            raise UsageError(f"the engine {engine} runs torch models", f"name another for {name}")
        return Side(name, engine, original.signature, original, engine)
    from hasten.engines.torch import Torch
    from hasten.export import export

    model = export(original, task.sample()).model
    if engine is not None and engine.takes == "onnx":
        return Side(name, engine, model.signature, model, engine)
    return Side(name, engine or Torch(), original.signature, model, _first(), torch=original)


def of_bundle(bundle: Bundle, engine: Engine | None = None) -> Side:
    """A bundle that the gate has let pass; its own engines answer unless another is given.

    Raises:
        UsageError: the engine runs torch models.
        InputError: another engine is given for stages that do not make one graph.
    """
    if engine is not None and engine.takes != "onnx":
        raise UsageError(f"the engine {engine} runs torch models", f"name another for {bundle.folder}")
    try:
        model, own = merged(bundle)
    except InputError as fault:
        if engine is not None:
            raise InputError(f"{bundle.folder} cannot be run whole on {engine}: {fault.what}", fault.mend) from fault
        own = bundle.stages[0].settled()
        return Side(str(bundle.folder), own, bundle.signature, None, own, bundle=bundle.folder, why=fault.what)
    if engine is not None:
        return Side(str(bundle.folder), engine, model.signature, model, engine)
    return Side(str(bundle.folder), own, bundle.signature, model, own, bundle=bundle.folder)


def golden_samples(bundle: Bundle) -> Data:
    """The prepared inputs of its golden cases."""
    stored = {
        t.name: [np.load(bundle.folder / c.prepared[t.name], allow_pickle=False) for c in bundle.golden.cases]
        for t in bundle.signature.inputs
    }
    return Data({name: np.concatenate(arrays) for name, arrays in stored.items()})


def _half(model: OnnxModel) -> bool:
    """Whether it has weights in 16 bits."""
    return any(w.data_type == onnx.TensorProto.FLOAT16 for w in model.proto.graph.initializer)


def _first() -> Engine:
    engines = available("onnx")
    if not engines:
        raise MissingError("no engine that runs ONNX was found", "pip install 'hasten[onnxruntime,openvino]'")
    return engines[0]
