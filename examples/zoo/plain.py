"""A plain convolutional network (LeCun et al. 1998) with batch norm, 70,000 parameters."""

import torch
from common import fashion
from torch import nn


def layer(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out), nn.ReLU())


class Plain(nn.Module):
    """Image f32 [N, 1, 28, 28] -> logits f32 [N, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(layer(1, 16), layer(16, 32, 2), layer(32, 32), layer(32, 64, 2), layer(64, 64))
        self.head = nn.Linear(64, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(image).mean((2, 3)))


task = fashion("plain", Plain)
