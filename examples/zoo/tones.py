"""A 1-D convolutional network that hears which of eight notes sounds loudest; its waves are synthesised."""

import numpy as np
import torch
from common import loss, trained
from torch import nn

from hasten import Data, Task

RATE_HZ, LENGTH, NOTES = 8000, 1024, 8


class Tones(nn.Module):
    """Wave f32 [N, 1, 1024] -> logits f32 [N, 8]."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels_in, channels_out, kernel, stride in (
            (1, 32, 32, 8),
            (32, 48, 9, 2),
            (48, 64, 7, 2),
            (64, 64, 5, 1),
        ):
            conv = nn.Conv1d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False)
            layers += [conv, nn.BatchNorm1d(channels_out), nn.ReLU()]
        self.body, self.head = nn.Sequential(*layers), nn.Linear(64, NOTES)

    def forward(self, wave: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(wave).mean(2))


def chords(n: int, seed: int) -> Data:
    """Wave f32 [n, 1, 1024] of three notes with overtones, in noise; the target int64 [n] is the loudest."""
    rng = np.random.default_rng(seed)
    notes = rng.permuted(np.tile(np.arange(NOTES), (n, 1)), axis=1)[:, :3, None]
    loudness = np.array([1.0, 0.8, 0.5])[:, None] * rng.uniform(0.9, 1.1, (n, 3, 1))
    pitch_hz = 440 * 2 ** ((notes + rng.uniform(-0.2, 0.2, (n, 3, 1))) / NOTES)
    turn = 2 * np.pi * pitch_hz * np.arange(LENGTH) / RATE_HZ + rng.uniform(0, 2 * np.pi, (n, 3, 1))
    wave = (loudness * (np.sin(turn) + 0.5 * np.sin(2 * turn))).sum(1) + rng.normal(0, 0.5, (n, LENGTH))
    return Data({"wave": wave[:, None].astype(np.float32)}, notes[:, 0, 0].astype(np.int64))


task = Task(
    "tones",
    trained("tones", Tones),
    metric="top1",
    train=lambda: chords(10_000, 0),
    calibrate=lambda: chords(512, 1),
    validate=lambda: chords(2000, 2),
    test=lambda: chords(2000, 3),
    loss=loss,
)
