"""TensorRT-RTX: engine files are built on any CPU, ahead of time, and run on an RTX GPU. *Running: not verified.*"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from hasten import files
from hasten.engine import Compiled, Engine
from hasten.engines import _cuda, _rtx
from hasten.engines._device import OnDevice
from hasten.engines._tensorrt import Lengths, serialized
from hasten.errors import InputError, MissingError
from hasten.model import OnnxFile, OnnxModel

Target = Literal["portable", "sm75", "sm80", "sm86", "sm89", "sm120", "sm121"]


@dataclass(frozen=True)
class TensorRtRtx(Engine):
    """NVIDIA's engine for GeForce RTX and RTX PRO; `build` needs no GPU, and the same file gives the same bytes.

    What is built was accepted by TensorRT-RTX, and has not run: *not verified on hardware*. The GPU compiles the rest
    at the first call, and keeps it in the cache folder. https://docs.nvidia.com/deeplearning/tensorrt-rtx

    Settings:
        typical: samples a call that it is tuned for.
        most: samples a call, to begin with; a larger call builds it anew.
        longest: of every free axis but the batch, and tuned for that.
        target: the compute capability it is built for; portable: every GPU since Ampere. Turing has a file of its own,
            sm75, and no INT8 worth having.
    """

    typical: int = 1
    most: int = 32
    longest: int = 512
    target: Target = "portable"
    caveat: ClassVar[str] = "builds here; running it is not verified on hardware"

    def __post_init__(self) -> None:
        self.lengths.check()

    @property
    def lengths(self) -> Lengths:
        return Lengths(self.typical, self.most, self.longest)

    @classmethod
    def missing(cls) -> str | None:
        if reason := _rtx.missing() or _cuda.absent():
            return reason
        return None

    @classmethod
    def version(cls) -> str:
        return _rtx.version()

    @classmethod
    def variants(cls, quantized: bool) -> tuple["TensorRtRtx", ...]:
        return (cls(),)

    @property
    def precision(self) -> str:
        return "f32"

    def build(self, model: OnnxModel | OnnxFile) -> bytes:
        return self._built(model, self.lengths)

    def _built(self, model: OnnxModel | OnnxFile, lengths: Lengths) -> bytes:
        if reason := _rtx.missing():
            raise MissingError("no engine file can be made here", reason)
        return serialized(_rtx.load(), model, lengths, self._configure)

    def _configure(self, builder: Any, config: Any) -> None:
        if self.target != "portable":
            config.num_compute_capabilities = 1
            config.set_compute_capability(getattr(_rtx.load().ComputeCapability, self.target.upper()), 0)

    def _compile(self, model: OnnxModel | OnnxFile) -> Compiled:
        trt = _rtx.load()
        runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        kept = files.cache_folder() / "tensorrt" / f"{_cuda.name()}-rtx-{self.version()}.kernels"

        caches: list[Any] = []

        def opened(plan: bytes) -> Any:
            engine = runtime.deserialize_cuda_engine(plan)
            if engine is None:
                raise InputError("TensorRT-RTX does not read its own engine file", "see what it wrote to its log")
            config = engine.create_runtime_config()
            cache = config.create_runtime_cache()
            if kept.is_file():
                cache.deserialize(kept.read_bytes())  # one of another GPU or version is refused, and made anew
            config.set_runtime_cache(cache)
            caches[:] = [cache]
            return engine.create_execution_context(config)

        def keep() -> None:
            files.write(kept, bytes(caches[0].serialize()))

        device = _cuda.Device(_cuda.load())
        return OnDevice(model, self.lengths, lambda lengths: self._built(model, lengths), opened, device, keep)
