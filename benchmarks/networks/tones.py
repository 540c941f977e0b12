"""A 1-D conv net that hears which of 12 notes sounds loudest in a noisy chord; waveforms are synthesised.

PYTHONPATH=benchmarks python -m networks.tones       trains it again (two minutes)
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from networks.export import accuracy, export, keep, recall, save, train

METRIC, MAX_DROP = "top1", 0.01
CHECKPOINT = Path(__file__).with_name("tones.safetensors")
RATE_HZ, LENGTH, NOTES = 8000, 2048, 12


class Tones(nn.Module):
    """wave f32 [N, 1, 2048] -> logits f32 [N, 12]."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels_in, channels_out, kernel, stride in (
            (1, 64, 64, 8),
            (64, 128, 9, 2),
            (128, 192, 9, 2),
            (192, 256, 7, 2),
            (256, 256, 5, 1),
        ):
            layers += [
                nn.Conv1d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False),
                nn.BatchNorm1d(channels_out),
                nn.ReLU(),
            ]
        self.body, self.head = nn.Sequential(*layers), nn.Linear(256, NOTES)

    def forward(self, wave: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(wave).mean(2))


def chords(n: int, seed: int) -> dict[str, np.ndarray]:
    """wave f32 [n, 1, 2048]: four notes of the octave from 440 Hz with overtones, in noise; target: the loudest."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(LENGTH) / RATE_HZ
    notes = rng.permuted(np.tile(np.arange(NOTES), (n, 1)), axis=1)[:, :4]
    loudness = rng.uniform(0.5, 1.0, (n, 1)) * np.c_[np.ones((n, 1)), rng.uniform(0.2, 0.9, (n, 3))]
    wave = rng.normal(0, 0.5, (n, LENGTH))
    for voice in range(4):
        pitch_hz = 440 * 2 ** ((notes[:, voice, None] + rng.uniform(-0.2, 0.2, (n, 1))) / 12)
        for overtone, share in ((1, 1.0), (2, 0.5), (3, 0.25)):
            phase = rng.uniform(0, 2 * np.pi, (n, 1))
            wave += loudness[:, voice, None] * share * np.sin(2 * np.pi * overtone * pitch_hz * time_s + phase)
    return {"wave": wave[:, None].astype(np.float32), "target": notes[:, 0].astype(np.int64)}


def make(folder: Path) -> None:
    calibrate = chords(300, 1)
    del calibrate["target"]
    export(recall(Tones(), CHECKPOINT), calibrate, folder / "model.onnx")
    save(folder, calibrate=calibrate, validate=chords(2000, 2), test=chords(2000, 3))


if __name__ == "__main__":
    torch.manual_seed(0)
    data = {k: torch.from_numpy(v) for k, v in chords(12_000, 0).items()}
    order = torch.Generator().manual_seed(0)

    def batches():
        for pick in torch.randperm(len(data["target"]), generator=order).split(100):
            yield (data["wave"][pick],), data["target"][pick]

    net = Tones()
    train(net, batches, epochs=6, rate=2e-3)
    keep(net, CHECKPOINT)
    print(f"validate {accuracy(recall(net, CHECKPOINT), chords(2000, 2)):.2f} %")
