"""The two kinds of model, and the signature they share.

A model is immutable: whoever changes one returns another. `TorchModel` is what was trained, `OnnxModel` what travels.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, final

import numpy as np

from hasten import files
from hasten.errors import InputError

if TYPE_CHECKING:
    import onnx
    import torch

Arrays = Mapping[str, np.ndarray]
_TREES = {
    f"{numbers}{stored}"
    for numbers in ("nodes_values", "class_weights", "target_weights", "nodes_splits", "leaf_weights")
    for stored in ("", "_as_tensor")
}
HISTORY = "hasten.history"  # metadata key of an ONNX file: the techniques applied, one a line
EXIT = "hasten.exit"  # the same of a graph that ends in a choice between two answers: see hasten.exits
SAID = "hasten.said"  # the same of what techniques tell about the graph, one sentence a line


@dataclass(frozen=True)
class Tensor:
    """A named input or output: numpy dtype name, and a shape in which a free axis is a name."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} [{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Signature:
    """Named inputs and outputs. The same axis name means the same length wherever it stands."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def __post_init__(self) -> None:
        """
        Raises:
            InputError: two inputs, or two outputs, of one name.
        """
        for side in ("inputs", "outputs"):
            names = [t.name for t in getattr(self, side)]
            for i, name in enumerate(names):
                if name in names[:i]:
                    raise InputError(f"two {side} are called {name!r}", "give each a name of its own")

    def __str__(self) -> str:
        return " -> ".join(", ".join(map(str, side)) for side in (self.inputs, self.outputs))

    @property
    def batch(self) -> str | None:
        """The name of the free axis 0 that all inputs share, or None where the batch is fixed."""
        first = {t.shape[0] if t.shape else 1 for t in self.inputs}
        axis = first.pop() if len(first) == 1 else None
        return axis if isinstance(axis, str) else None

    @property
    def fixed_batch(self) -> int:
        """How many samples a call takes where the batch is fixed; 1 where it is free."""
        axis = self.inputs[0].shape[0] if self.inputs and self.inputs[0].shape else 1
        return axis if isinstance(axis, int) else 1

    def check(self, arrays: Arrays, side: str = "inputs") -> None:
        """See that `arrays` are this signature's inputs (or outputs): names, dtypes, shapes, free axes that agree.

        Raises:
            InputError: with what came, what was expected.
        """
        expected: tuple[Tensor, ...] = getattr(self, side)
        if {t.name for t in expected} != set(arrays):
            raise InputError(f"{side} {sorted(arrays)} were given", f"this model has {[str(t) for t in expected]}")
        axes: dict[str, int] = {}
        for tensor in expected:
            array = arrays[tensor.name]
            if array.dtype.name != tensor.dtype:
                raise InputError(f"{tensor.name!r} is {array.dtype.name}", f"{tensor.dtype} is expected: convert it")
            fits = array.ndim == len(tensor.shape) and all(
                length == (axes.setdefault(axis, length) if isinstance(axis, str) else axis)
                for length, axis in zip(array.shape, tensor.shape, strict=True)
            )
            if not fits:
                raise InputError(f"{tensor.name!r} has shape {list(array.shape)}", f"{tensor} is expected")

    def to_json(self) -> dict[str, Any]:
        return {
            side: [{"name": t.name, "dtype": t.dtype, "shape": list(t.shape)} for t in getattr(self, side)]
            for side in ("inputs", "outputs")
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            *(
                tuple(Tensor(t["name"], t["dtype"], tuple(t["shape"])) for t in data[side])
                for side in ("inputs", "outputs")
            )
        )


@final
@dataclass(frozen=True, eq=False)
class TorchModel:
    """A torch module in eval mode with named inputs and outputs.

    `forward` takes the inputs in the order of the signature and gives a tensor, a sequence or a dict of tensors.
    """

    module: "torch.nn.Module"
    signature: Signature
    history: tuple[str, ...] = ()
    edits: tuple[
        Mapping[str, Any], ...
    ] = ()  # of its structure, as JSON: each names its technique, which can replay it

    @classmethod
    def of(cls, module: "torch.nn.Module", example: Arrays) -> Self:
        """Wrap a module; the signature is read off its answers to `example`.

        Args:
            module: takes the inputs positionally, in the order of `example`.
            example: input name -> array [N, ...] with N >= 1 (two rows are repeated out of the first where N is 1).

        Raises:
            InputError: the module fails on the example.
        """
        from hasten.engines.torch import call

        module = module.eval()
        pair, single = ({k: np.resize(np.asarray(v), (n, *v.shape[1:])) for k, v in example.items()} for n in (2, 1))
        try:
            one = call(module, single)
        except Exception as fault:
            raise InputError(
                f"the model fails on its own data: {type(fault).__name__}: {fault}",
                "see that inputs come in the order of forward's arguments",
            ) from fault
        try:
            two: Arrays = call(module, pair)
        except Exception:  # the batch is fixed at 1
            two = one
        free = all(two[k].shape[:1] == (2,) and one[k].shape[:1] == (1,) for k in one)

        def tensor(name: str, array: np.ndarray) -> Tensor:
            return Tensor(
                name, array.dtype.name, ("N" if free else array.shape[0], *array.shape[1:]) if array.ndim else ()
            )

        return cls(
            module,
            Signature(tuple(tensor(k, v) for k, v in single.items()), tuple(tensor(k, v) for k, v in one.items())),
        )

    @property
    def params(self) -> int:
        return sum(p.numel() for p in self.module.parameters())

    def digest(self) -> str:
        """SHA-256 over the names, shapes and bytes of parameters and buffers."""
        import torch

        state = hashlib.sha256()
        for name, value in self.module.state_dict().items():
            state.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
            state.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return state.hexdigest()

    def edited(self, technique: str, edit: Mapping[str, Any]) -> Self:
        """The same model with one more edit on record."""
        return replace(self, edits=(*self.edits, {"technique": technique, **edit}))

    def recorded(self, history: tuple[str, ...]) -> Self:
        """The same model as what these techniques made."""
        return replace(self, module=self.module.eval(), history=history)


@final
@dataclass(frozen=True, eq=False)
class OnnxModel:
    """An ONNX graph with its weights inside. `proto` is not to be modified: copy it first."""

    proto: "onnx.ModelProto"
    path: Path | None = None

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file that has passed the gate (hasten.diagnose.hostile); external data is taken in.

        Raises:
            InputError: not an ONNX file.
        """
        import onnx

        try:
            return cls(onnx.load(str(path)), Path(path))
        except Exception as fault:
            raise InputError(
                f"{path} is not a readable ONNX file ({type(fault).__name__})", "export it again"
            ) from fault

    def save(self, path: str | Path) -> Self:
        """Write the file whole or not at all; the saved model knows its path."""
        files.write(Path(path), self.proto.SerializeToString())
        return replace(self, path=Path(path))

    @cached_property
    def signature(self) -> Signature:
        graph = self.proto.graph
        weights = {w.name for w in graph.initializer}
        return Signature(
            tuple(_tensor(v) for v in graph.input if v.name not in weights), tuple(map(_tensor, graph.output))
        )

    @property
    def history(self) -> tuple[str, ...]:
        return tuple(self.metadata.get(HISTORY, "").splitlines())

    @property
    def opset(self) -> int:
        return max((o.version for o in self.proto.opset_import if o.domain in ("", "ai.onnx")), default=0)

    @property
    def params(self) -> int:
        """Elements of all floating-point and quantized weights (constants of shapes and indices included), and of
        ensembles of trees their thresholds and the weights of their leaves.
        """
        trees = (a for n in self.proto.graph.node if n.domain == "ai.onnx.ml" for a in n.attribute if a.name in _TREES)
        weights: int = sum(math.prod(w.dims) for w in self.proto.graph.initializer)
        numbers: int = sum(len(a.floats) or math.prod(a.t.dims) for a in trees)
        return weights + numbers

    @property
    def size_mb(self) -> float:
        return float(self.proto.ByteSize()) / 1e6

    @property
    def quantized(self) -> bool:
        """Whether the file computes in INT8 anywhere; what an engine makes of it is for its session to say."""
        return any("Quantize" in n.op_type or n.op_type.endswith("Integer") for n in self.proto.graph.node)

    def digest(self) -> str:
        return hashlib.sha256(self.proto.SerializeToString(deterministic=True)).hexdigest()

    @property
    def said(self) -> tuple[str, ...]:
        """What techniques tell about the graph."""
        return tuple(self.metadata.get(SAID, "").splitlines())

    @property
    def metadata(self) -> dict[str, str]:
        return {p.key: p.value for p in self.proto.metadata_props}

    def noted(self, key: str, value: str) -> Self:
        """The same graph with this among its metadata."""
        import onnx

        made = onnx.ModelProto()
        made.CopyFrom(self.proto)
        kept = [p for p in made.metadata_props if p.key != key]
        del made.metadata_props[:]
        made.metadata_props.extend(kept)
        made.metadata_props.add(key=key, value=value)
        return type(self)(made)

    def recorded(self, history: tuple[str, ...]) -> Self:
        """The same graph as what these techniques made."""
        return self.noted(HISTORY, "\n".join(history))


@final
@dataclass(frozen=True)
class OnnxFile:
    """An ONNX file that is only to be run. Its signature is already known, so nothing here needs the onnx package."""

    path: Path
    signature: Signature


Model = TorchModel | OnnxModel


def _tensor(value: "onnx.ValueInfoProto") -> Tensor:
    import onnx

    kind = value.type.tensor_type
    shape = tuple(
        d.dim_value if d.HasField("dim_value") else d.dim_param or f"{value.name}_{i}"
        for i, d in enumerate(kind.shape.dim)
    )
    return Tensor(value.name, onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name, shape)
