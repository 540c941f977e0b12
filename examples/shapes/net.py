"""An encoder of single frames and a head over the time of a window: 0.3 M parameters, 10 MMACs a frame."""

import torch
from torch import nn


def _layer(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False), nn.BatchNorm2d(channels_out), nn.ReLU()
    )


class Encoder(nn.Module):
    """Frames f32 [N, 3, 54, 96] -> features f32 [N, features]."""

    def __init__(self, features: int = 48) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _layer(3, 16, 2), _layer(16, 32, 2), _layer(32, 32, 1), _layer(32, 64, 2), _layer(64, 64, 1)
        )
        self.narrow = nn.Conv2d(64, 16, 1)
        self.out = nn.Linear(16 * 7 * 12, features)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.narrow(self.body(frames)))
        return torch.relu(self.out(x.flatten(1)))


class Head(nn.Module):
    """Features of a window f32 [N, frames, features] -> logit f32 [N, 1]."""

    def __init__(self, features: int = 48, frames: int = 15, width: int = 32) -> None:
        super().__init__()
        self.first = nn.Conv1d(features, width, 3, padding=1)
        self.second = nn.Conv1d(width, width, 3, padding=1)
        self.out = nn.Linear(width * frames, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(features.transpose(1, 2)))
        x = torch.relu(self.second(x))
        return self.out(x.flatten(1))


class ShapesNet(nn.Module):
    """Clips f32 [N, 15, 3, 54, 96] -> logit f32 [N, 1]: has the ball crossed the line in the last half second?"""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.head = Encoder(), Head()

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        features = self.encoder(frames.flatten(0, 1))
        return self.head(features.unflatten(0, (-1, frames.shape[1])))
