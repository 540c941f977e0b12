"""Every operation of spec/pixels.md once more, in plain numpy: what the native code is held against, byte for byte."""

import math
from typing import Any

import numpy as np

Array = np.ndarray

# Y, red of V, green of U, green of V, blue of U, times 8192.
YUV = {
    ("bt601", "limited"): (9539, 13075, -3209, -6660, 16525),
    ("bt601", "full"): (8192, 11485, -2819, -5850, 14516),
    ("bt709", "limited"): (9539, 14686, -1747, -4366, 17305),
    ("bt709", "full"): (8192, 12901, -1535, -3835, 15201),
}


def yuv_to_rgb(y: Array, u: Array, v: Array, matrix: str, range_: str) -> Array:
    """Planes u8 [H, W], [ceil(H/2), ceil(W/2)] twice -> u8 [H, W, 3]."""
    scale, red_v, green_u, green_v, blue_u = YUV[matrix, range_]
    rows, columns = np.arange(y.shape[0]) // 2, np.arange(y.shape[1]) // 2
    luma = scale * (y.astype(np.int32) - (16 if range_ == "limited" else 0))
    cb, cr = (plane[rows][:, columns].astype(np.int32) - 128 for plane in (u, v))
    rgb = np.stack([luma + red_v * cr, luma + green_u * cb + green_v * cr, luma + blue_u * cb], axis=-1)
    return np.clip((rgb + 4096) >> 13, 0, 255).astype(np.uint8)


def to_grey(rgb: Array) -> Array:
    """u8 [H, W, 3] -> u8 [H, W, 1]."""
    weighted = rgb.astype(np.int64) @ np.array([19595, 38470, 7471])
    return ((weighted + 32768) >> 16).astype(np.uint8)[..., None]


def kernel(x: float, filter_: str) -> float:
    """The weight at distance `x`: a triangle of support 1, or Keys' cubic with a = -0.5, of support 2."""
    x = abs(x)
    if filter_ == "bilinear":
        return max(1.0 - x, 0.0)
    if x < 1:
        return (1.5 * x - 2.5) * x * x + 1
    return ((-0.5 * x + 2.5) * x - 4) * x + 2 if x < 2 else 0.0


def weights(in_: int, out: int, filter_: str) -> list[tuple[int, list[int]]]:
    """For each output pixel the first input pixel of its window, and the weights times 2^22."""
    scale = in_ / out
    stretch = max(scale, 1.0)
    support = (1.0 if filter_ == "bilinear" else 2.0) * stretch
    windows = []
    for i in range(out):
        centre = (i + 0.5) * scale
        first = int(max(centre - support + 0.5, 0.0))
        end = int(min(centre + support + 0.5, in_))
        parts = [kernel((k - centre + 0.5) * (1.0 / stretch), filter_) for k in range(first, end)]
        total = 0.0
        for part in parts:  # one after the other: sum() is more exact
            total += part
        windows.append((first, [math.floor(abs(p / total) * 2**22 + 0.5) * (1 if p >= 0 else -1) for p in parts]))
    return windows


def resize_axis(image: Array, axis: int, out: int, filter_: str) -> Array:
    """u8 -> u8 with `out` pixels along `axis`."""
    if image.shape[axis] == out:
        return image
    image = np.moveaxis(image, axis, 0).astype(np.int64)
    made = np.empty((out, *image.shape[1:]), np.uint8)
    for i, (first, window) in enumerate(weights(len(image), out, filter_)):
        total = np.tensordot(np.array(window), image[first : first + len(window)], 1)
        made[i] = np.clip((total + (1 << 21)) >> 22, 0, 255)
    return np.moveaxis(made, 0, axis)


def resize(image: Array, height: int, width: int, filter_: str) -> Array:
    """u8 [H, W, C] -> u8 [height, width, C]: across, rounded, then down."""
    return resize_axis(resize_axis(image, 1, width, filter_), 0, height, filter_)


def share(a: int, b: int, c: int) -> int:
    """a * b / c to the nearest, half up, at least 1."""
    return max(1, (2 * a * b + c) // (2 * c))


def to_colour(planes: tuple[Array, ...], how: dict[str, Any]) -> Array:
    """The whole image in any format -> u8 [H, W, channels] in the colour that is wanted."""
    source, colour = how["source"], how["colour"]
    if source == "grey":
        return np.repeat(planes[0][..., None], 1 if colour == "grey" else 3, axis=-1)
    if source in ("i420", "nv12"):
        y, u, v = planes if source == "i420" else (planes[0], planes[1][..., 0], planes[1][..., 1])
        rgb = yuv_to_rgb(y, u, v, how["matrix"], how["range"])
    else:
        rgb = planes[0] if source == "rgb" else planes[0][..., ::-1]
    return to_grey(rgb) if colour == "grey" else rgb if colour == "rgb" else rgb[..., ::-1]


def fitted(image: Array, size: tuple[int, int], fit: str, filter_: str, fill: int) -> Array:
    """u8 [h, w, C] -> u8 [*size, C]."""
    (h, w), (height, width) = image.shape[:2], size
    wider = w * height > h * width
    if fit == "centre_crop":
        part_h, part_w = (h, share(h, width, height)) if wider else (share(w, height, width), w)
        top, left = (h - part_h) // 2, (w - part_w) // 2
        return resize(image[top : top + part_h, left : left + part_w], height, width, filter_)
    if fit == "letterbox":
        in_h, in_w = (share(width, h, w), width) if wider else (height, share(height, w, h))
        top, left = (height - in_h) // 2, (width - in_w) // 2
        canvas = np.full((height, width, image.shape[2]), fill, np.uint8)
        canvas[top : top + in_h, left : left + in_w] = resize(image, in_h, in_w, filter_)
        return canvas
    return resize(image, height, width, filter_)


def prepare(planes: tuple[Array, ...], how: dict[str, Any]) -> Array:
    """An image, as its planes, through everything -> the tensor.

    Colour comes before the crop here: the crop then needs no thought about chroma.
    """
    image = to_colour(planes, how)
    if how["crop"] is not None:
        top, left, height, width = how["crop"]
        image = image[top : top + height, left : left + width]
    size = how["size"] or image.shape[:2]
    image = fitted(image, size, how["fit"], how["filter"], how["fill"])
    if how["dtype"] == "float32":
        mean, std = np.array(how["mean"], np.float32), np.array(how["std"], np.float32)
        image = (image.astype(np.float32) - mean) / std
    return np.ascontiguousarray(image.transpose(2, 0, 1) if how["layout"] == "nchw" else image)
