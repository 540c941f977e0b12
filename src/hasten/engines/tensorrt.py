"""TensorRT 10 or 11 on an NVIDIA GPU, or its DLA. *Not verified on hardware*: written from NVIDIA's documentation."""

import importlib.metadata
import importlib.util
from dataclasses import dataclass
from typing import Any, ClassVar

from hasten import files
from hasten.engine import Compiled, Engine
from hasten.engines import _cuda
from hasten.engines._device import OnDevice
from hasten.engines._tensorrt import Lengths, serialized
from hasten.errors import InputError, MissingError
from hasten.model import OnnxFile, OnnxModel


@dataclass(frozen=True)
class TensorRt(Engine):
    """Built from the ONNX file on the GPU that runs it, with what was timed before taken from the cache folder.

    The network is strongly typed, as TensorRT 11 has it only: floats are computed in their own type (no TF32), and
    INT8 is where Q and DQ are. The code that parses and builds is tested through TensorRT-RTX, whose interface is the
    same; running it is not. https://docs.nvidia.com/deeplearning/tensorrt

    Settings:
        typical: samples a call that it is tuned for.
        most: samples a call, to begin with; a larger call builds it anew, and takes as long.
        longest: of every free axis but the batch, and tuned for that.
        dla_core: which DLA, where there is one; what that cannot do runs on the GPU. -1: none. TensorRT 10's reads no Q
            and DQ (`hasten export --for jetson-orin` writes what it does read); TensorRT 11.4.1 on a Jetson AGX Orin
            with JetPack 7.2.2 does.
    """

    typical: int = 1
    most: int = 32
    longest: int = 512
    dla_core: int = -1
    caveat: ClassVar[str] = "not verified on hardware"

    def __post_init__(self) -> None:
        self.lengths.check()

    @property
    def lengths(self) -> Lengths:
        return Lengths(self.typical, self.most, self.longest, fixed=self.dla_core >= 0)

    @classmethod
    def missing(cls) -> str | None:
        if importlib.util.find_spec("tensorrt") is None:
            return "tensorrt is not installed: pip install tensorrt cuda-bindings, on a machine with an NVIDIA GPU"
        return _cuda.absent()

    @classmethod
    def version(cls) -> str:
        return importlib.metadata.version("tensorrt")

    @classmethod
    def variants(cls, quantized: bool) -> tuple["TensorRt", ...]:
        return (cls(),)

    @property
    def precision(self) -> str:
        return "f32"

    def build(self, model: OnnxModel | OnnxFile) -> bytes:
        return self._built(model, self.lengths)

    def _built(self, model: OnnxModel | OnnxFile, lengths: Lengths) -> bytes:
        if reason := self.missing():
            raise MissingError("an engine file of TensorRT is made on the GPU that runs it", reason)
        import tensorrt as trt

        timing = files.cache_folder() / "tensorrt" / f"{_cuda.name()}-{trt.__version__}.timing"
        weak = self.dla_core >= 0 and hasattr(trt.BuilderFlag, "INT8")  # TensorRT 10
        if weak and isinstance(model, OnnxModel) and model.quantized:
            raise InputError(
                f"the DLA of TensorRT {trt.__version__} reads no Q and DQ", "hasten export --for jetson-orin"
            )
        return serialized(trt, model, lengths, lambda *made: self._configure(trt, *made), timing, strong=not weak)

    def _configure(self, trt: Any, builder: Any, config: Any) -> None:
        """
        Raises:
            MissingError: no such DLA.
        """
        if self.dla_core < 0:
            return
        if self.dla_core >= builder.num_DLA_cores:
            raise MissingError(f"there are {builder.num_DLA_cores} DLA cores", f"dla_core={self.dla_core} is not one")
        config.default_device_type = trt.DeviceType.DLA
        config.DLA_core = self.dla_core
        config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
        if hasattr(trt.BuilderFlag, "FP16"):  # TensorRT 10, whose DLA is weakly typed
            config.set_flag(trt.BuilderFlag.FP16)

    def _compile(self, model: OnnxModel | OnnxFile) -> Compiled:
        import tensorrt as trt

        runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        if self.dla_core >= 0:
            runtime.DLA_core = self.dla_core

        def opened(plan: bytes) -> Any:
            engine = runtime.deserialize_cuda_engine(plan)
            if engine is None:
                raise InputError("TensorRT does not read its own engine file", "see what it wrote to its log")
            return engine.create_execution_context()

        device = _cuda.Device(_cuda.load())
        return OnDevice(model, self.lengths, lambda lengths: self._built(model, lengths), opened, device)
