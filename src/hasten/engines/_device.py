"""An engine file of TensorRT or TensorRT-RTX at work on a GPU. *Not verified on hardware.*"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from hasten.engine import Compiled, Layer
from hasten.engines._cuda import Device
from hasten.engines._tensorrt import Lengths
from hasten.errors import InputError
from hasten.model import Arrays, OnnxFile, OnnxModel


class OnDevice(Compiled):
    """Built for a range of lengths, and anew for a wider one when a call does not fit it: that call takes long."""

    def __init__(
        self,
        model: OnnxModel | OnnxFile,
        lengths: Lengths,
        build: Callable[[Lengths], bytes],
        opened: Callable[[bytes], Any],
        device: Device,
        keep: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            build: makes the engine file.
            opened: an execution context of it.
            keep: called at the end, for what is worth keeping of it.
        """
        self._signature, self._lengths, self._build, self._opened = model.signature, lengths, build, opened
        self._device, self._keep = device, keep
        self._context: Any = opened(build(lengths))

    def run(self, feed: Arrays) -> dict[str, np.ndarray]:
        self._fit(feed)
        arrays = {t.name: np.require(feed[t.name], requirements="C") for t in self._signature.inputs}
        for name, array in arrays.items():
            if not self._context.set_input_shape(name, array.shape):
                raise InputError(f"{name!r} {list(array.shape)} is outside what the engine was made for", "try another")
            self._context.set_tensor_address(name, self._device.send(name, array))
        answer = {}
        for tensor in self._signature.outputs:
            shape = tuple(self._context.get_tensor_shape(tensor.name))
            if any(length < 0 for length in shape):
                raise InputError(f"the shape of {tensor.name!r} depends on values", "let it have a fixed length")
            answer[tensor.name] = np.empty(shape, tensor.dtype)
            address = self._device.hold(tensor.name, answer[tensor.name].nbytes)
            self._context.set_tensor_address(tensor.name, address)
        if not self._context.execute_async_v3(self._device.stream):
            raise InputError("the engine did not start", "see what it wrote to its log")
        for name, array in answer.items():
            self._device.fetch(name, array)
        self._device.wait()
        return answer

    def _fit(self, feed: Arrays) -> None:
        """Build anew where a free axis is longer than it may be; twice as long, so that this happens seldom."""
        most, longest = self._lengths.most, self._lengths.longest
        for tensor in self._signature.inputs:
            for i, (axis, length) in enumerate(zip(tensor.shape, feed[tensor.name].shape, strict=True)):
                if length == 0:
                    raise InputError(f"{tensor.name!r} has no elements", "give at least one sample")
                if isinstance(axis, str) and i == 0 and axis == self._signature.batch:
                    most = max(most, length)
                elif isinstance(axis, str):
                    longest = max(longest, length)
        if self._lengths.fixed and self._signature.batch and self._batch(feed) != self._lengths.typical:
            raise InputError(
                f"a DLA takes {self._lengths.typical} samples a call, and {self._batch(feed)} were given",
                "set typical to what you send",
            )
        if (most, longest) != (self._lengths.most, self._lengths.longest):
            self._lengths = replace(
                self._lengths,
                most=2 * most if most > self._lengths.most else most,
                longest=2 * longest if longest > self._lengths.longest else longest,
            )
            self._context = self._opened(self._build(self._lengths))

    def _batch(self, feed: Arrays) -> int:
        return len(feed[self._signature.inputs[0].name])

    def layers(self) -> list[Layer]:
        """None: what the inspector says of an executed graph could not be looked at without a GPU."""
        return []

    def close(self) -> None:
        if self._context is not None:
            self._keep()
        self._context = None
        self._device.close()
