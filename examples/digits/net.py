"""A small residual network for 28x28 digits: 0.2 M parameters, 28 MMACs (He et al. 2016, arXiv 1512.03385)."""

import torch
from torch import nn


class Block(nn.Module):
    """Two 3x3 convolutions and a skip; [N, in, H, W] -> [N, out, H/stride, W/stride]."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(),
            nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
        )
        self.skip = (
            nn.Identity()
            if stride == 1 and channels_in == channels_out
            else nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
            )
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + self.skip(x))


class DigitsNet(nn.Module):
    """Image f32 [N, 1, 28, 28] -> logits f32 [N, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 24, 3, padding=1, bias=False), nn.BatchNorm2d(24), nn.ReLU())
        self.stages = nn.Sequential(Block(24, 24, 1), Block(24, 48, 2), Block(48, 48, 1), Block(48, 96, 2))
        self.head = nn.Linear(96, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.stages(self.stem(image)).mean((2, 3)))
