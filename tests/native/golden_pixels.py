"""spec/golden-pixels/cases.txt: what the C++ tests hold the native code against, made by the oracle.

    python tests/native/golden_pixels.py

A line is a case: the settings that are not the plain ones, and the CRC-32 of the tensor's bytes. The image is computed:
byte `i` of all planes together, without gaps, is the highest of `mixed(i)`.
"""

import random
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pixels_oracle as oracle

FILE = Path(__file__).parents[2] / "spec" / "golden-pixels" / "cases.txt"
COUNT = 150


def planes(source: str, height: int, width: int) -> tuple[np.ndarray, ...]:
    """The image of this format and size."""
    half = ((height + 1) // 2, (width + 1) // 2)
    kinds: dict[str, list[tuple[int, ...]]] = {
        "grey": [(height, width)],
        "i420": [(height, width), half, half],
        "nv12": [(height, width), (*half, 2)],
    }
    shapes = kinds.get(source, [(height, width, 3)])
    ends = np.cumsum([np.prod(shape) for shape in shapes])
    mixed = np.arange(ends[-1], dtype=np.uint32) * np.uint32(2654435761)
    mixed = (mixed ^ (mixed >> np.uint32(15))) * np.uint32(2246822519)
    parts = np.split((mixed >> np.uint32(24)).astype(np.uint8), ends[:-1])
    return tuple(part.reshape(shape) for part, shape in zip(parts, shapes, strict=True))


def case(rng: random.Random) -> dict[str, Any]:
    """Some settings."""
    how: dict[str, Any] = {
        "source": rng.choice(["rgb", "bgr", "grey", "i420", "nv12"]),
        "matrix": rng.choice(["bt601", "bt709"]),
        "range": rng.choice(["limited", "full"]),
        "colour": rng.choice(["rgb", "bgr", "grey"]),
        "crop": None,
        "size": None,
        "fit": rng.choice(["stretch", "letterbox", "centre_crop"]),
        "filter": rng.choice(["bilinear", "bicubic"]),
        "fill": rng.choice([0, 114]),
        "mean": (0.0,),
        "std": (1.0,),
        "layout": rng.choice(["nchw", "nhwc"]),
        "dtype": rng.choice(["float32", "uint8"]),
        "width": rng.choice([1, 2, 5, 16, 33, 64, 97]),
        "height": rng.choice([1, 2, 7, 16, 31, 50]),
    }
    if rng.random() < 0.4:
        top, left = rng.randrange(how["height"]), rng.randrange(how["width"])
        how["crop"] = (top, left, rng.randint(1, how["height"] - top), rng.randint(1, how["width"] - left))
    if rng.random() < 0.85:
        how["size"] = (rng.choice([1, 3, 16, 24, 37]), rng.choice([1, 3, 16, 24, 37]))
    if how["dtype"] == "float32":
        how["mean"] = (123.675,) if how["colour"] == "grey" else (123.675, 116.28, 103.53)
        how["std"] = (58.395,)
    return how


def line_of(how: dict[str, Any]) -> str:
    """The case in a line."""
    image = planes(how["source"], how["height"], how["width"])
    words = []
    for name, value in how.items():
        if value is not None:
            words.append(f"{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}")
    return f"{' '.join(words)} crc={zlib.crc32(oracle.prepare(image, how).tobytes()):08x}"


def lines() -> list[str]:
    rng = random.Random(0)
    return [line_of(case(rng)) for _ in range(COUNT)]


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text("\n".join(lines()) + "\n")
