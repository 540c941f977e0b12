"""quantize_aware: train on with the rounding of INT8 in the network, then write the INT8 file."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from hasten.compress.heal import Heal
from hasten.errors import NotApplicable, UsageError
from hasten.model import Model, OnnxModel, TorchModel
from hasten.technique import Kind, Technique

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from hasten.task import Task

CALL = 64  # samples a call, where the batch is free


@dataclass(frozen=True)
class QuantizeAware(Technique):
    """Quantization-aware training (Jacob et al. 2018, arXiv:1712.05877) with distillation from the original.

    Inputs and weights of all convolutions, linear layers and products are rounded in the forward pass as the INT8 file
    rounds them, with ranges from calibration data, and gradients pass straight through. What was trained is exported,
    and INT8 is written by `quantize(method=placed)`: the file is of the kind that needs no training. It pays where INT8
    without training loses what the budget does not allow; elsewhere it costs minutes and gives nothing. Layers inside
    recurrent modules and nn.MultiheadAttention are neither rounded in training nor trained to be.

    Settings:
        epochs: at most.
        lr: the highest rate.
        batch: samples a step.
        teacher: share of the loss that is the distance to the original's answers, 0 to 1.
        temperature: by which scores are softened.
        engine: for whose fusions Q and DQ are placed.
        ranges: how a tensor's range is chosen from what it holds, as in quantize.
        samples: of calibration data that are looked at.
        seed: of the order of the samples.
    """

    epochs: int = 2
    lr: float = 2e-4
    batch: int = 128
    teacher: float = 0.5
    temperature: float = 4.0
    engine: Literal["onnxruntime", "openvino"] = "onnxruntime"
    ranges: Literal["minmax", "entropy", "percentile", "mse"] = "mse"
    samples: int = 300
    seed: int = 0

    takes: ClassVar[Kind] = "torch"
    gives: ClassVar[Kind] = "onnx"
    needs: ClassVar[frozenset[Literal["calibrate", "train"]]] = frozenset({"calibrate", "train"})

    def __post_init__(self) -> None:
        """
        Raises:
            UsageError: a setting out of range.
        """
        if self.samples < 1:
            raise UsageError(f"{self} cannot calibrate", "samples is at least 1")
        self._how()

    @classmethod
    def missing(cls) -> str | None:
        from hasten.graph.quantize import Quantize

        return Heal.missing() or Quantize.missing()

    @classmethod
    def presets(cls, task: "Task", epochs: int) -> tuple[Technique, ...]:
        """For the fusions of either engine; no longer than it trains by itself, as it starts from trained weights."""
        return tuple(cls(min(epochs, cls.epochs), engine=engine) for engine in ("onnxruntime", "openvino"))

    def apply(self, model: Model, task: "Task") -> OnnxModel:
        """
        Raises:
            NotApplicable: no layer of the network can be rounded.
        """
        from hasten.export import export
        from hasten.graph.quantize import Quantize

        assert isinstance(model, TorchModel)
        rounding = self._calibrated(model, task)
        trained = self._how().train(replace(model, module=rounding), task).module
        plain = replace(model, module=trained.get_submodule("net"))
        step = Quantize(
            method="placed",
            engine=self.engine,
            ranges=self.ranges,
            samples=self.samples,
            bias_correction=False,  # training has seen what rounding does to the means
        )
        made = step(export(plain, task.sample()).model, task)
        assert isinstance(made, OnnxModel)
        return made

    def _how(self) -> Heal:
        return Heal(self.epochs, self.lr, self.batch, self.teacher, self.temperature, seed=self.seed)

    def _calibrated(self, model: TorchModel, task: "Task") -> "torch.nn.Module":
        import copy

        import numpy as np
        import torch

        from hasten.compress._rounding import Rounding

        data = task.split("calibrate").spread(self.samples)
        size = CALL if model.signature.batch else model.signature.fixed_batch

        def feeds() -> "Iterator[list[torch.Tensor]]":
            for start in range(0, len(data), size):
                rows = np.arange(start, start + size) % len(data)
                yield [torch.from_numpy(np.array(data.inputs[t.name][rows])) for t in model.signature.inputs]

        rounding = Rounding(copy.deepcopy(model.module)).eval()
        if not rounding.calibrate(feeds, self.ranges):
            raise NotApplicable(f"{self} has nothing to do: the network has no convolution, linear layer or product")
        return rounding
