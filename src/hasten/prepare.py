"""From raw images to the tensor that a network takes: the same machine code in training, in Python and in C++."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib import import_module
from threading import get_ident
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hasten.errors import InputError, MissingError

if TYPE_CHECKING:
    from hasten import _core

_PACKED_YUV = ("I420", "NV12")  # in an array: luma rows, and below them half as many rows of chroma


@dataclass(frozen=True)
class Prepare:
    """How one raw input becomes the tensor of the same name. `kind="array"`: it already is the tensor.

    Steps of an image, in this order: crop, colour, resize, normalise, layout, dtype. spec/pixels.md defines each.
    """

    kind: Literal["array", "image"] = "array"
    source: Literal["RGB", "BGR", "grey", "I420", "NV12"] = "RGB"  # what is handed over
    matrix: Literal["bt601", "bt709"] = "bt601"  # of I420 and NV12
    range: Literal["limited", "full"] = "limited"  # of I420 and NV12
    colour: Literal["RGB", "BGR", "grey"] = "RGB"  # what the network was trained on
    crop: tuple[int, int, int, int] | None = None  # top, left, height, width in pixels of the source
    size: tuple[int, int] | None = None  # height, width in pixels; None keeps the input's own
    fit: Literal["stretch", "letterbox", "centre_crop"] = "stretch"
    filter: Literal["bilinear", "bicubic"] = "bilinear"
    fill: int = 0  # grey level of a letterbox's bars, 0..255
    mean: tuple[float, ...] = (0.0,)  # a channel, in grey levels 0..255
    std: tuple[float, ...] = (1.0,)
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    dtype: Literal["float32", "uint8"] = "float32"

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """
        Args:
            raw: uint8; [N, H, W, 3] of RGB or BGR, [N, H, W] of grey, [N, H * 3 / 2, W] of I420 and NV12 (whose sizes
                have to be even here). Rows need not be contiguous.

        Returns:
            [N, C, H, W] or [N, H, W, C] of `dtype`.

        Raises:
            InputError: another dtype or shape, a crop outside the image, or a Prepare that means nothing.
            MissingError: this installation has no native code.
        """
        height, width = self._seen(raw)
        preparer = _preparer(self, height, width, get_ident())
        tensor = np.empty((len(raw), *preparer.shape), self.dtype)
        for image, out in zip(raw, tensor, strict=True):
            preparer.run(image, out=out)
        return tensor

    def preparer(self, height: int, width: int) -> "_core.Preparer":
        """What prepares images of one size, plane by plane; it has scratch memory, so it serves one thread at a time.

        Raises:
            InputError: a Prepare that means nothing for that size.
            MissingError: this installation has no native code.
        """
        core = native(f"an image prepared as {self.colour}")
        said: Mapping[str, Any] = {k: v for k, v in asdict(self).items() if k != "kind"}
        try:
            made: _core.Preparer = core.Preparer(width=width, height=height, **said)
            return made
        except ValueError as fault:
            raise InputError(f"the pipeline cannot prepare {width}x{height} images: {fault}", "change it") from fault

    def _seen(self, raw: np.ndarray) -> tuple[int, int]:
        """Height and width of the images in an array."""
        axes = 4 if self.source in ("RGB", "BGR") else 3
        good = raw.dtype == np.uint8 and raw.ndim == axes and 0 not in raw.shape[1:]
        if not good or (axes == 4 and raw.shape[3] != 3):
            wanted = {4: "[N, H, W, 3]"}.get(axes, "[N, H, W]" if self.source == "grey" else "[N, H * 3 / 2, W]")
            raise InputError(
                f"a raw image is {raw.dtype.name} {list(raw.shape)}", f"{self.source} images are uint8 {wanted}"
            )
        height, width = raw.shape[1:3]
        if self.source in _PACKED_YUV:
            if height % 3 or width % 2:
                raise InputError(
                    f"{self.source} images of {list(raw.shape[1:])} have no even height and width",
                    "an array holds H rows of luma and H / 2 of chroma",
                )
            height = height // 3 * 2
        return int(height), int(width)


@lru_cache(maxsize=64)
def _preparer(how: Prepare, height: int, width: int, thread: int) -> "_core.Preparer":
    """Coefficients are computed once for a size; a preparer has scratch memory, so each thread has its own."""
    return how.preparer(height, width)


def native(what: str) -> Any:
    """hasten._core.

    Args:
        what: needs it, for the sentence.

    Raises:
        MissingError: it was not built.
    """
    try:
        return import_module("hasten._core")
    except ImportError as fault:
        raise MissingError(
            f"{what} needs hasten's native code, which this installation lacks",
            "install hasten where a C++17 compiler is (Debian: apt-get install g++)",
        ) from fault
