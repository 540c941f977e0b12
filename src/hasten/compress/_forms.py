"""Forms in which a layer can stand where a target lacks it: plain modules, built again from their settings."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from hasten.errors import NotApplicable

Made = tuple[str, dict[str, Any]]  # kind of module and its settings, as JSON keeps them
WINDOW, LINEAR, NEAREST = 8, 4, 32  # of the DLA: the longest window of a pooling, the largest factors of a resize
STEEPER = 1.702  # GELU is near to x * sigmoid(1.702 x) (Hendrycks and Gimpel 2016, arXiv:1606.08415)


class ClippedSwish(nn.Module):
    """x * clip(scale * x + 3, 0, 6) / 6: Hardswish (Howard et al. 2019, arXiv:1905.02244) in operators of its own."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        steep = x if self.scale == 1 else x * self.scale
        return x * F.relu6(steep + 3) * (1 / 6)


class ClippedSigmoid(nn.Module):
    """clip(x + 3, 0, 6) / 6."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu6(x + 3) * (1 / 6)


class LastBatchNorm(nn.BatchNorm2d):
    """Of images whose channels come last, [N, H, W, C]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Matrices(nn.Module):
    """A resize of a known size, which is linear in rows and in columns: two products with constants.

    Settings:
        side: rows and columns of what comes.
        size: of what is made.
        mode: bilinear or bicubic, antialiased.
    """

    rows: torch.Tensor
    columns: torch.Tensor

    def __init__(self, side: Sequence[int], size: Sequence[int], mode: str, align_corners: bool | None = None) -> None:
        super().__init__()
        how: dict[str, Any] = {"mode": mode, "antialias": True, "align_corners": align_corners}
        made = []
        for before, after in zip(side, size, strict=True):
            one = torch.eye(before, dtype=torch.float64)[None, None]
            made.append(F.interpolate(one, (after, before), **how)[0, 0].float())
        self.register_buffer("rows", made[0], persistent=False)
        self.register_buffer("columns", made[1].T.contiguous(), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rows.to(x) @ x @ self.columns.to(x)


class Mean(nn.Module):
    """The mean over height and width by windows, without the axes."""

    def __init__(self, windows: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.windows = nn.Sequential(*(nn.AvgPool2d(_pair(w)) for w in windows))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = self.windows(x)
        return pooled.flatten(1)


def pool(kind: str, steps: Sequence[Sequence[Sequence[int]]]) -> nn.Module:
    """Poolings one after the other: of each, window and stride."""
    of = {"avg": nn.AvgPool2d, "max": nn.MaxPool2d}[kind]
    return nn.Sequential(*(of(_pair(window), _pair(stride)) for window, stride in steps))


def _pair(sides: Sequence[int]) -> tuple[int, int]:
    return sides[0], sides[1]


def upsample(scale_factor: Sequence[float], **how: Any) -> nn.Module:
    """A resize by these factors."""
    return nn.Upsample(scale_factor=tuple(scale_factor), **how)


BUILD: Mapping[str, Callable[..., nn.Module]] = {
    "ClippedSwish": ClippedSwish,
    "ClippedSigmoid": ClippedSigmoid,
    "BatchNorm1d": nn.BatchNorm1d,
    "BatchNorm2d": nn.BatchNorm2d,
    "BatchNorm3d": nn.BatchNorm3d,
    "LastBatchNorm": LastBatchNorm,
    "Matrices": Matrices,
    "Mean": Mean,
    "Upsample": upsample,
    "pool": pool,
}


def built(made: Sequence[Any]) -> nn.Module:
    """The module that these settings describe."""
    kind, settings = made
    return BUILD[kind](**settings)


def norm(layer: nn.Module, shape: Sequence[int]) -> Made:
    """A batch norm for a norm that looks at a sample; its numbers come from data.

    Raises:
        NotApplicable: what it normalizes are not channels.
    """
    if isinstance(layer, nn.LayerNorm):
        if len(layer.normalized_shape) != 1 or len(shape) != 4:
            raise NotApplicable("it normalizes more than the channels of an image")
        return "LastBatchNorm", {"num_features": shape[-1], "eps": layer.eps}
    if not 2 <= len(shape) <= 5:
        raise NotApplicable(f"it is given {len(shape)} axes")
    kind = "BatchNorm3d" if len(shape) == 5 else "BatchNorm2d" if len(shape) == 4 else "BatchNorm1d"
    return kind, {"num_features": shape[1], "eps": float(getattr(layer, "eps", 1e-5))}


def windows(side: Sequence[int], size: Sequence[int], kind: str) -> Made:
    """Adaptive pooling as windows of a fixed length; the same numbers where the size divides the side.

    Raises:
        NotApplicable: a window is longer than the target takes, and no product of shorter ones.
    """
    axes = [_steps(before, after) for before, after in zip(side, size, strict=True)]
    count = max(map(len, axes))
    filled = [(*steps, *[(1, 1)] * (count - len(steps))) for steps in axes]
    return "pool", {"kind": kind, "steps": [[[a[0], b[0]], [a[1], b[1]]] for a, b in zip(*filled, strict=True)]}


def _steps(side: int, size: int) -> list[tuple[int, int]]:
    """Window and stride of each pooling along an axis."""
    stride = side // size
    if stride < 1:
        raise NotApplicable(f"it makes {size} of {side}, which no pooling does")
    if side % size:
        window = side - (size - 1) * stride
        if window > WINDOW:
            raise NotApplicable(f"it needs windows of {window}, and {WINDOW} is the longest")
        return [(window, stride)]
    steps, left = [], stride
    while left > 1:
        factor = max((f for f in range(2, WINDOW + 1) if left % f == 0), default=0)
        if not factor:
            raise NotApplicable(f"it needs windows of {left}, which is no product of numbers up to {WINDOW}")
        steps.append((factor, factor))
        left //= factor
    return steps or [(1, 1)]


def resize(target_form: str, side: Sequence[int], how: Mapping[str, Any]) -> Made | None:
    """What stands for a resize; None where the target has it as it is.

    Args:
        side: height and width of what comes.
        how: arguments of `torch.nn.functional.interpolate`.

    Raises:
        NotApplicable: there is no form for it.
    """
    mode, antialias = how.get("mode", "nearest"), bool(how.get("antialias"))
    size = _size(side, how)
    if target_form == "matrices":
        if not antialias:
            return None
        return "Matrices", {
            "side": list(side), "size": size, "mode": mode, "align_corners": how.get("align_corners")
        }  # fmt: skip
    up = [after / before for before, after in zip(side, size, strict=True)]
    down = [before // after if before % after == 0 else 0 for before, after in zip(side, size, strict=True)]
    if mode == "area" or (antialias and all(down)):
        return windows(side, size, "avg")
    most = NEAREST if mode.startswith("nearest") else LINEAR
    if any(f != int(f) or not 1 <= f <= most for f in up):
        raise NotApplicable(f"it makes {size} of {list(side)}, and only whole factors up to {most} are there")
    if mode in ("nearest", "bilinear") and not antialias and not how.get("align_corners"):
        return None
    made = "nearest" if mode.startswith("nearest") else "bilinear"
    return "Upsample", {"scale_factor": up, "mode": made} | ({"align_corners": False} if made == "bilinear" else {})


def _size(side: Sequence[int], how: Mapping[str, Any]) -> list[int]:
    if (size := how.get("size")) is not None:
        return [size] * len(side) if isinstance(size, int) else [int(n) for n in size]
    factor = how["scale_factor"]
    factors = [factor] * len(side) if isinstance(factor, int | float) else list(factor)
    return [math.floor(n * f) for n, f in zip(side, factors, strict=True)]
