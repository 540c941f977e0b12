"""A residual network for 28x28 grey images: 1.1 M parameters, 124 MMACs (He et al. 2016, arXiv 1512.03385)."""

from collections import OrderedDict

import torch
from torch import nn


class Block(nn.Module):
    """Two 3x3 convolutions and a skip; [N, in, H, W] -> [N, out, H/stride, W/stride]."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.skip = (
            nn.Identity()
            if stride == 1 and channels_in == channels_out
            else nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
            )
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.skip(x))


class FashionNet(nn.Module):
    """Image f32 [N, 1, 28, 28] -> logits f32 [N, 10]; `width` channels in the first stage, doubled in each next one.

    `kernel` and `stride` are those of the first convolution: with stride 2 all stages have a quarter of the pixels. A
    block is called by its place in a network of three blocks a stage, so that one of fewer finds its weights there.
    """

    def __init__(self, width: int = 32, blocks: int = 3, classes: int = 10, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        first = nn.Conv2d(1, width, kernel, stride, padding=kernel // 2, bias=False)
        self.stem = nn.Sequential(first, nn.BatchNorm2d(width), nn.ReLU())
        stages: OrderedDict[str, nn.Module] = OrderedDict()
        channels = width
        for stage in range(3):
            out = width * 2**stage
            for i in range(blocks):
                block = Block(channels if i == 0 else out, out, 2 if stage and i == 0 else 1)
                stages[str(stage * max(3, blocks) + i)] = block
            channels = out
        self.stages = nn.Sequential(stages)
        self.head = nn.Linear(channels, classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.stages(self.stem(image))
        return self.head(x.mean((2, 3)))
