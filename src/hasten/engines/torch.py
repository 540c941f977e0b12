"""PyTorch as it is trained, eager and FP32: the baseline that every speedup is measured over."""

import copy
import importlib.metadata
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from hasten.engine import Compiled, Engine, Layer
from hasten.errors import InputError
from hasten.measure import machine
from hasten.model import Arrays, TorchModel

if TYPE_CHECKING:
    import torch

Format = Literal["contiguous", "channels_last"]


@dataclass(frozen=True)
class Torch(Engine):
    """Runs a module eagerly, in inference mode.

    torch has one number of threads a process: sessions set it in turn, and give back what they found when they close.
    """

    memory_format: Format = "contiguous"  # channels_last: of 4-D weights and inputs
    takes: ClassVar[Literal["torch", "onnx"]] = "torch"

    @classmethod
    def missing(cls) -> str | None:
        return None if importlib.util.find_spec("torch") else "torch is not installed: pip install 'hasten[torch]'"

    @classmethod
    def version(cls) -> str:
        return importlib.metadata.version("torch")

    @classmethod
    def variants(cls, quantized: bool) -> tuple["Torch", ...]:
        return cls(), cls(memory_format="channels_last")

    @property
    def precision(self) -> str:
        return "f32"

    def _compile(self, model: TorchModel) -> Compiled:
        return _Eager(self, model)


class _Eager(Compiled):
    def __init__(self, engine: Torch, model: TorchModel) -> None:
        import torch

        self._names = [t.name for t in model.signature.inputs]
        self._format = engine.memory_format
        self._before, self._threads = torch.get_num_threads(), engine.threads or machine.threads()
        self._module = model.module
        if self._format == "channels_last":  # on a copy: `to` works in place
            self._module = copy.deepcopy(model.module).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run(self, feed: Arrays) -> dict[str, np.ndarray]:
        _threads(self._threads)
        return call(self._module, {name: feed[name] for name in self._names}, self._format)

    def layers(self) -> list[Layer]:
        return []

    def close(self) -> None:
        _threads(self._before)


def _threads(count: int) -> None:
    import torch

    if torch.get_num_threads() != count:
        torch.set_num_threads(count)


def call(module: "torch.nn.Module", arrays: Arrays, memory_format: Format = "contiguous") -> dict[str, np.ndarray]:
    """Run a module in inference mode on arrays passed positionally, in the order in which they come.

    Args:
        arrays: name -> array; of dtypes that torch knows.
        memory_format: of 4-D inputs.

    Returns:
        A dict's own names; "output" for a single tensor; "output0", "output1", ... for a sequence.

    Raises:
        InputError: the module answers with something else.
    """
    import torch

    with torch.inference_mode():
        answer = module(*(_tensor(array, memory_format) for array in arrays.values()))
    return {name: value.detach().cpu().numpy() for name, value in named(answer).items()}


def _tensor(array: np.ndarray, memory_format: Format) -> "torch.Tensor":
    import torch

    tensor = torch.from_numpy(np.require(array, requirements=("C", "W")))  # shares memory; a read-only array is copied
    if memory_format == "channels_last" and tensor.ndim == 4:
        return tensor.contiguous(memory_format=torch.channels_last)
    return tensor


def named(answer: Any) -> dict[str, "torch.Tensor"]:
    """A module's answer by the names that its outputs have in a signature.

    Raises:
        InputError: it is neither a tensor nor a sequence or a dict of them.
    """
    import torch

    if isinstance(answer, torch.Tensor):
        return {"output": answer}
    if isinstance(answer, Mapping):
        named = {str(name): value for name, value in answer.items()}
    elif isinstance(answer, list | tuple):
        named = {f"output{i}": value for i, value in enumerate(answer)}
    else:
        named = {"output": answer}
    for name, value in named.items():
        if not isinstance(value, torch.Tensor):
            raise InputError(
                f"the model's {name!r} is a {type(value).__name__}",
                "answer with a tensor, a sequence or a dict of them",
            )
    return named
