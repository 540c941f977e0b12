"""Deeper networks bear quantization better."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, partial

import numpy as np
import torch
from torch import nn

from claimed import Figure, Verdict, few, made_all, points
from claimed._rounded import rounded
from hasten.task import Task
from made import made, right

CLAIM = "Deeper networks bear quantization better"
RULE = (
    "Plain convolutional networks of one width and three depths, three seeds each, trained alike; weights in 8 and in "
    "4 bits. What is compared is the drop of the shallowest less that of the deepest, all seeds together. It holds if "
    "that is surely above 0 at 4 bits, does not hold if surely below or within half a point of 0 there, depends else."
)
TIMED = False
DEPTHS, SEEDS, BITS, WIDTH = (2, 6, 12), (0, 1, 2), (8, 4), 16
TRAINED = "heal(epochs=3, lr=0.003, teacher=0)"
NEAR = 0.5


class Stack(nn.Module):
    """Image f32 [N, 1, 28, 28] -> logits f32 [N, 10], through `depth` convolutions."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(depth):
            stride = 2 if i in (0, depth // 2) else 1
            conv = nn.Conv2d(WIDTH if i else 1, WIDTH, 3, stride, padding=1, bias=False)
            layers += [conv, nn.BatchNorm2d(WIDTH), nn.ReLU()]
        self.body, self.head = nn.Sequential(*layers), nn.Linear(WIDTH, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(image).mean((2, 3)))


def fresh(depth: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return Stack(depth)


@cache
def task(depth: int, seed: int) -> Task:
    return replace(few("plain"), name=f"depth-{depth}", model=partial(fresh, depth, seed))


def prepare() -> None:
    made_all((task(depth, seed), TRAINED) for depth in DEPTHS for seed in SEEDS)


def figures() -> Iterator[Figure]:
    lost: dict[tuple[int, int], list[np.ndarray]] = {}
    for depth in DEPTHS:
        floats: list[np.ndarray] = []
        for seed in SEEDS:
            model = made(task(depth, seed), TRAINED)
            floats.append(right(task(depth, seed), model))
            for bits in BITS:
                lost.setdefault((depth, bits), []).append(floats[-1] - right(task(depth, seed), rounded(model, bits)))
        for bits in BITS:
            drop = np.mean(lost[depth, bits], 0)
            said = f"{100 * np.mean(floats):.2f} % in floats"
            yield points(f"{depth} convolutions, {bits} bits", drop, np.zeros_like(drop), said)
    for bits in BITS:
        shallow, deep = (np.mean(lost[depth, bits], 0) for depth in (DEPTHS[0], DEPTHS[-1]))
        yield points(f"shallowest less deepest, {bits} bits", shallow, deep)


def verdict(found: Sequence[Figure]) -> Verdict:
    gap = next(f for f in found if f.of == "shallowest less deepest, 4 bits")
    assert gap.low is not None
    assert gap.high is not None
    if gap.low > 0:
        return "holds"
    return "does not hold" if gap.high < 0 or (gap.low > -NEAR and gap.high < NEAR) else "depends"
