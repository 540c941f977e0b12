"""A small transformer with a padding mask made with the lowest float; says which kind of token is most frequent.

PYTHONPATH=benchmarks python -m networks.sequences       trains it again (two minutes)
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from networks.export import accuracy, export, keep, recall, save, train

METRIC, MAX_DROP, TRANSFORMER = "top1", 0.01, True
CHECKPOINT = Path(__file__).with_name("sequences.safetensors")
TOKENS, KINDS, LENGTH, WIDTH, HEADS = 64, 8, 48, 128, 4


class Attention(nn.Module):
    """Self-attention of x f32 [N, T, C] that does not see where `seen` bool [N, T] is False."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).reshape(-1, LENGTH, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) / (WIDTH // HEADS) ** 0.5
        scores = scores.masked_fill(~seen[:, None, None, :], torch.finfo(scores.dtype).min)
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(-1, LENGTH, WIDTH))


class Layer(nn.Module):
    """Attention and a feed-forward part, each behind a layer norm and beside a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.attention, self.norm2 = nn.LayerNorm(WIDTH), Attention(), nn.LayerNorm(WIDTH)
        self.feed = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x), seen)
        return x + self.feed(self.norm2(x))


class Sequences(nn.Module):
    """tokens int64 [N, 48], length int64 [N] -> logits f32 [N, 8]; what stands behind `length` is padding."""

    def __init__(self, layers: int = 4) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(TOKENS, WIDTH), nn.Parameter(torch.randn(LENGTH, WIDTH) * 0.02)
        self.layers = nn.ModuleList(Layer() for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, KINDS)

    def forward(self, tokens: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
        seen = torch.arange(LENGTH, device=tokens.device)[None, :] < length[:, None]
        x = self.tokens(tokens) + self.places
        for layer in self.layers:
            x = layer(x, seen)
        share = seen[:, :, None] / length[:, None, None]
        return self.head((self.norm(x) * share).sum(1))


def lines(n: int, seed: int) -> dict[str, np.ndarray]:
    """tokens int64 [n, 48], length int64 [n]; target: the kind (token % 8) seen most, no ties. Padding is any token."""
    rng = np.random.default_rng(seed)
    tokens, length = rng.integers(0, TOKENS, (2 * n, LENGTH)), rng.integers(12, LENGTH + 1, 2 * n)
    seen = np.arange(LENGTH) < length[:, None]
    counts = np.stack([((tokens % KINDS == kind) & seen).sum(1) for kind in range(KINDS)], 1)
    best = np.sort(counts, axis=1)
    clear = np.flatnonzero(best[:, -1] > best[:, -2])[:n]
    return {"tokens": tokens[clear], "length": length[clear], "target": counts[clear].argmax(1)}


def make(folder: Path) -> None:
    calibrate = lines(300, 1)
    del calibrate["target"]
    export(recall(Sequences(), CHECKPOINT), calibrate, folder / "model.onnx")
    save(folder, calibrate=calibrate, validate=lines(2000, 2), test=lines(2000, 3))


if __name__ == "__main__":
    torch.manual_seed(0)
    data = {k: torch.from_numpy(v) for k, v in lines(20_000, 0).items()}
    order = torch.Generator().manual_seed(0)

    def batches():
        for pick in torch.randperm(len(data["target"]), generator=order).split(128):
            yield (data["tokens"][pick], data["length"][pick]), data["target"][pick]

    net = Sequences()
    train(net, batches, epochs=5, rate=2e-3)
    keep(net, CHECKPOINT)
    print(f"validate {accuracy(recall(net, CHECKPOINT), lines(2000, 2)):.2f} %")
