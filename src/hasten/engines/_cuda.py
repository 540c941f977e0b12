"""Memory and a stream of a GPU, through NVIDIA's own cuda.bindings. *Not verified on hardware.*"""

import ctypes
import importlib.util
from functools import cache
from typing import Any

import numpy as np

from hasten.errors import InputError

MEND = "pip install cuda-bindings"


@cache
def absent() -> str | None:
    """Why no GPU can be used from here, and what mends it; None when one can. The driver is asked, and nothing else."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "this machine has no NVIDIA driver: run it on one with an NVIDIA GPU"
    count = ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return "the NVIDIA driver shows no GPU: see that nvidia-smi lists one"
    if importlib.util.find_spec("cuda") is None:
        return f"cuda-bindings is not installed: {MEND}"
    return None


def name() -> str:
    """Of the GPU and its compute capability, as a part of a file's name."""
    device = _checked(load().cudaGetDeviceProperties(0))
    said = device.name.decode() if isinstance(device.name, bytes) else str(device.name)
    return f"{'-'.join(said.split())}-sm{device.major}{device.minor}"


def load() -> Any:
    """CUDA's runtime."""
    from cuda.bindings import runtime

    return runtime


class Device:
    """A stream of the first GPU, and memory that only grows; `close` gives both back.

    Args:
        runtime: as `load` gives it; every call answers with an error code first.
    """

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime
        self.stream = int(_checked(runtime.cudaStreamCreate()))
        self._held: dict[str, tuple[int, int]] = {}  # name -> address, bytes

    def hold(self, name: str, size: int) -> int:
        """The address of at least `size` bytes that are called so."""
        address, has = self._held.get(name, (0, 0))
        if has < max(1, size):
            if address:
                _checked(self._runtime.cudaFree(address))
                del self._held[name]
            address = int(_checked(self._runtime.cudaMalloc(max(1, size))))
            self._held[name] = (address, max(1, size))
        return address

    def send(self, name: str, array: np.ndarray) -> int:
        """Copy an array there, in the stream; it has to live until `wait`."""
        address, kind = self.hold(name, array.nbytes), self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        if array.nbytes:
            _checked(self._runtime.cudaMemcpyAsync(address, array.ctypes.data, array.nbytes, kind, self.stream))
        return address

    def fetch(self, name: str, array: np.ndarray) -> None:
        """Fill an array from there, in the stream; it is filled after `wait`."""
        address, kind = self.hold(name, array.nbytes), self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        if array.nbytes:
            _checked(self._runtime.cudaMemcpyAsync(array.ctypes.data, address, array.nbytes, kind, self.stream))

    def wait(self) -> None:
        """Until all that the stream was given is done."""
        _checked(self._runtime.cudaStreamSynchronize(self.stream))

    def close(self) -> None:
        for address, _ in self._held.values():
            self._runtime.cudaFree(address)
        self._held.clear()
        if self.stream:
            self._runtime.cudaStreamDestroy(self.stream)
            self.stream = 0


def _checked(answer: tuple[Any, ...]) -> Any:
    """What a call of CUDA gives, without its error code.

    Raises:
        InputError: the code is not 0.
    """
    code, *rest = answer
    if int(code):
        raise InputError(f"CUDA says {getattr(code, 'name', code)}", "see that the GPU has memory left, and is well")
    return rest[0] if rest else None
