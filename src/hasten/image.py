"""Image files to pixels, by Pillow here and by libjpeg-turbo and libpng in C++: spec/images.md defines them."""

import io
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from hasten.errors import InputError, MissingError

if TYPE_CHECKING:
    from PIL.Image import Image

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
MOST_SIDE, MOST_PIXELS = 65536, 1 << 26
_WHOLE = "give the file again, whole"


def read(path: str | Path, source: Literal["RGB", "BGR", "grey"] = "RGB") -> np.ndarray:
    """The pixels of a file.

    Args:
        source: as in Prepare.

    Returns:
        uint8 [H, W, 3], or [H, W] of grey.

    Raises:
        InputError: no such file, neither JPEG nor PNG, damaged, or too large.
        MissingError: Pillow is not installed.
    """
    if source not in ("RGB", "BGR", "grey"):
        raise InputError(f"{path} is an image file, and {source} comes from video", "give an array")
    try:
        content = Path(path).read_bytes()
    except OSError as fault:
        raise InputError(f"{path} cannot be read", "give an image file") from fault
    pixels = _oriented(*_decoded(content, path))
    if source == "grey":
        return np.ascontiguousarray(pixels if pixels.ndim == 2 else _grey(pixels))
    colour = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    return np.ascontiguousarray(colour[..., ::-1] if source == "BGR" else colour)


def _decoded(content: bytes, path: str | Path) -> tuple[np.ndarray, int]:
    """Pixels [H, W] or [H, W, 3] as they are stored, and the orientation."""
    if not content.startswith((JPEG, PNG)):
        raise InputError(f"{path} is neither a JPEG nor a PNG", "give such a file, or an array")
    try:
        from PIL import Image
    except ImportError as fault:
        raise MissingError(
            "Pillow is not installed, and image files are read by it", "pip install 'hasten[images]'"
        ) from fault
    most, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # the size is looked at here
    try:
        with Image.open(io.BytesIO(content), formats=["JPEG", "PNG"]) as image:
            width, height = image.size
            if max(width, height) > MOST_SIDE or width * height > MOST_PIXELS:
                raise InputError(
                    f"{path} has {width}x{height} pixels", f"at most {MOST_PIXELS} are read: give it smaller"
                )
            return _pixels(image), _orientation(image.info.get("exif", b"")) if content.startswith(JPEG) else 1
    except InputError:
        raise
    except Exception as fault:  # whatever Pillow meets in a damaged file
        said = str(fault).splitlines() or [type(fault).__name__]
        raise InputError(f"{path} is a damaged image ({said[0][:200]})", _WHOLE) from fault
    finally:
        Image.MAX_IMAGE_PIXELS = most


def _pixels(image: "Image") -> np.ndarray:
    if image.mode == "CMYK":
        inks = np.asarray(image).astype(np.int32)
        light = 255 - inks[..., 3:]
        part = inks[..., :3] * light + 128
        return (light - ((part + (part >> 8)) >> 8)).astype(np.uint8)
    if image.mode == "P":
        return (
            np.asarray(image.convert("RGBA"))[..., :3]
            if "transparency" in image.info
            else np.asarray(image.convert("RGB"))
        )
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8) * np.uint8(255)
    array = np.asarray(image)
    if array.dtype != np.uint8:  # I;16 and I hold 16 bits
        array = (array.astype(np.int64) >> 8).astype(np.uint8)
    return array[..., 0] if image.mode == "LA" else array[..., :3] if array.ndim == 3 else array


def _grey(colour: np.ndarray) -> np.ndarray:
    red, green, blue = (colour[..., i].astype(np.int64) for i in range(3))
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).astype(np.uint8)


def _oriented(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """As it is to be seen, of pixels as they are stored."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def _orientation(exif: bytes) -> int:
    """Tag 274 of the first directory of an Exif segment; 1 where it has none that counts."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return 1
    (start,) = struct.unpack_from(f"{order}I", tiff, 4)
    if start + 2 > len(tiff):
        return 1
    (count,) = struct.unpack_from(f"{order}H", tiff, start)
    for i in range(count):
        at = start + 2 + 12 * i
        if at + 12 > len(tiff):
            return 1
        tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, at)
        if tag == 274:
            return int(value) if kind == 3 and 1 <= value <= 8 else 1
    return 1
