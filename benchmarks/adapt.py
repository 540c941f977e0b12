"""A net with SiLU and GroupNorm, changed to what a DLA has: does all of it fit, and what does it lose?

python benchmarks/adapt.py [--epochs N] [--heal N]

On Fashion-MNIST: a small residual net with SiLU, GroupNorm and a mean over the image is trained once (a few minutes,
kept in out/), adapted to the DLA, and healed. `hasten check --target dla` judges the file before and after; what is
lost on the test images is paired image by image.
"""

import argparse
import sys
from dataclasses import replace

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from bar import bar
from commands import ROOT
from contest import upper_drop
from hasten import TorchModel, checkpoint, export
from hasten.compress.adapt import Adapt
from hasten.compress.heal import Heal
from hasten.diagnose.support import check
from hasten.task import Task
from made import example, right

MOST = 0.005  # that may be lost
KEPT = ROOT / "out" / "adapt"
FEW = 20_000  # images of an epoch


class Block(nn.Module):
    """conv, GroupNorm, SiLU, twice, and a skip."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(inputs, outputs, 3, stride, 1), nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.norm1, self.norm2 = nn.GroupNorm(8, outputs), nn.GroupNorm(8, outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1, stride) if inputs != outputs else nn.Identity()
        self.act = nn.SiLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.act(self.norm1(self.first(x)))
        return F.silu(self.norm2(self.second(y)) + self.skip(x))


class Net(nn.Module):
    """Image [N, 1, 28, 28] -> logits [N, 10]."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, 1, 1), nn.GroupNorm(4, 16), nn.SiLU())
        self.blocks = nn.Sequential(Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2))
        self.head = nn.Linear(64, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.stem(image)).mean((2, 3)))


def trained(base: Task, epochs: int) -> Net:
    """From labels alone, once for this number of epochs."""
    net, path = Net(), KEPT / f"net-{epochs}.pt"
    if path.exists():
        net.load_state_dict(torch.load(path, weights_only=True))
        return net
    fresh = replace(base, model=Net, source=None)
    made = Heal(epochs, 3e-3, teacher=0.0)(fresh.original, fresh)
    KEPT.mkdir(parents=True, exist_ok=True)
    torch.save(made.module.state_dict(), path)
    net.load_state_dict(made.module.state_dict())
    return net


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--epochs", type=int, default=8)
    ask.add_argument("--heal", type=int, default=6)
    args = ask.parse_args()
    base = replace(example("fashion/task.py"), at_most={"train": FEW, "validate": 4000})
    net = trained(base, args.epochs)
    task = replace(base, model=lambda: net, source=None)
    before = task.original
    assert isinstance(before, TorchModel)
    step = Adapt("dla", epochs=args.heal, lr=3e-3)
    folder = KEPT / f"{step}-{before.digest()[:12]}"
    if not folder.exists():
        checkpoint.save(step(before, task), folder)
    after = checkpoint.load(folder, task)
    rows: list[np.ndarray] = []
    native: list[float] = []
    for name, model in (("before", before), ("after", after)):
        graph = export(model, task.sample()).model
        said = check(graph, "dla", task.sample().inputs)
        native.append(said.figures["nodes_share"])
        rows.append(right(task, graph))
        odd = sorted({f"{row.op} in {row.module}" for row in said.rows if row.word != "native"})
        share = f"{native[-1]:.0%} of the nodes on the DLA"
        print(f"{name}: {rows[-1].mean():.4f} right, {share}; not: {', '.join(odd) or 'none'}", flush=True)
    lost, most = upper_drop(rows[0], rows[1], None)
    passed = [
        bar("share of the nodes that the DLA takes, before", native[0], "below 1", native[0] < 1),
        bar("share of the nodes that the DLA takes, adapted", native[1], "1", native[1] == 1),
        bar("points lost after healing, upper end of 95 %", 100 * most, f"at most {100 * MOST:g}", most <= MOST),
    ]
    print(f"mean drop {100 * lost:+.2f} points")
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
