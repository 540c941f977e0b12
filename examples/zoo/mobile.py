"""Inverted residuals with depthwise convolutions (Sandler et al. 2018, arXiv:1801.04381), 43,000 parameters."""

import torch
from common import fashion
from torch import nn


def layer(channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out), nn.ReLU6())


class Inverted(nn.Module):
    """[N, in, H, W] -> [N, out, H/stride, W/stride], through four times as many channels."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        wide = 4 * channels_in
        self.widen = layer(channels_in, wide, 1)
        self.depthwise = layer(wide, wide, 3, stride, groups=wide)
        self.narrow = nn.Sequential(nn.Conv2d(wide, channels_out, 1, bias=False), nn.BatchNorm2d(channels_out))
        self.skips = stride == 1 and channels_in == channels_out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.narrow(self.depthwise(self.widen(x)))
        return x + y if self.skips else y


class Mobile(nn.Module):
    """Image f32 [N, 1, 28, 28] -> logits f32 [N, 10]."""

    def __init__(self) -> None:
        super().__init__()
        shapes = [(16, 16, 1), (16, 24, 2), (24, 24, 1), (24, 40, 2), (40, 40, 1)]
        self.body = nn.Sequential(layer(1, 16, 3), *(Inverted(*shape) for shape in shapes), layer(40, 160, 1))
        self.head = nn.Linear(160, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(image).mean((2, 3)))


task = fashion("mobile", Mobile)
