"""drop_layers: the block goes that does least, and what cannot go is said."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from trainable import accuracy, quadrants

from hasten import checkpoint
from hasten.compress.drop_layers import DropLayers
from hasten.engines.torch import call
from hasten.errors import InputError, NotApplicable, UsageError


class Block(nn.Module):
    """[N, 32] -> the same, by a skip; what it is given beside that scales what it adds."""

    def __init__(self, strength: float) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(32, 32), nn.LayerNorm(32)
        self.strength = strength

    def forward(self, x: torch.Tensor, scale: float, also: None = None) -> torch.Tensor:
        return x + scale * self.strength * torch.relu(self.layer(self.norm(x)))


class Deep(nn.Module):
    """Five blocks, of which the third and the first hardly do anything."""

    def __init__(self, strengths: tuple[float, ...] = (0.02, 1.0, 0.001, 1.0, 1.0)) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Flatten(), nn.Linear(64, 32))
        self.blocks = nn.ModuleList(Block(s) for s in strengths)
        self.head = nn.Linear(32, 4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.stem(image)
        for block in self.blocks:
            x = block(x, 1.0, also=None)
        return self.head(x)


@pytest.mark.parametrize(("ratio", "gone"), [(0.2, ["blocks.2"]), (0.3, ["blocks.2", "blocks.0"])])
def test_what_does_least_goes_first(ratio: float, gone: list[str]) -> None:
    """A block is 1,024 of 7,296 multiply-adds."""
    net = Deep().eval()
    task = quadrants(lambda: net)
    made = DropLayers(ratio)(task.original, task)
    assert made.edits[0]["gone"] == gone
    assert made.edits[0]["untouched"]["stem"] == "it makes [32] of [1, 8, 8]"
    assert "14% of the multiply-adds" in made.edits[0]["untouched"]["blocks.4"]
    feed = next(task.split("test").batches(64))
    wanted = call(net, feed)["output"]
    assert np.abs(call(made.module, feed)["output"] - wanted).max() < 0.1 * np.abs(wanted).max()
    assert sum(p.numel() for p in made.module.parameters()) < sum(p.numel() for p in net.parameters())


def test_blocks_within_others_are_known() -> None:
    """What stands in a block that is gone cannot go again; a block of blocks may go as one."""
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 32),
        nn.Sequential(*(nn.Sequential(nn.Linear(32, 32), nn.Identity()) for _ in range(2))), nn.Linear(32, 4),
    )  # fmt: skip
    with torch.no_grad():
        for inner in (0, 1):
            net[2][inner][0].weight.copy_(torch.eye(32))
            net[2][inner][0].bias.zero_()
    task = quadrants(lambda: net)
    made = DropLayers(0.6)(task.original, task)
    assert made.edits[0]["gone"] in (["2"], ["2.0", "2.1"], ["2.1", "2.0"])
    feed = next(task.split("test").batches(8))
    np.testing.assert_allclose(call(made.module, feed)["output"], call(net, feed)["output"], atol=1e-5)


def test_it_heals_and_is_kept(tmp_path: Path) -> None:
    task = quadrants(lambda: Deep((1.0,) * 5))
    alone, healed = (DropLayers(0.3, epochs=e, lr=5e-3)(task.original, task) for e in (0, 8))
    assert accuracy(task, alone.module) < 0.6
    assert accuracy(task, healed.module) > 0.9
    again = checkpoint.load(checkpoint.save(healed, tmp_path / "c"), task)
    assert again.digest() == healed.digest()
    other = quadrants(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 4)))
    with pytest.raises(InputError, match="build the network that was compressed"):
        checkpoint.load(tmp_path / "c", other)


def test_there_may_be_nothing_to_do() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pair, self.head = nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), nn.GRU(4, 4, batch_first=True)
            self.both = Both()

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.both(self.pair(image))[0]

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.inner(x), x

    task = quadrants(Two)
    with pytest.raises(NotApplicable, match=r"pair: it makes \[4\] of \[1, 8, 8\]; both: it takes or gives something"):
        DropLayers()(task.original, task)
    whole = quadrants(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 4)))
    with pytest.raises(NotApplicable, match="there is no block of several layers"):
        DropLayers()(whole.original, whole)
    small = quadrants(lambda: Deep())
    with pytest.raises(NotApplicable, match=r"blocks\.0: it is 14% of the multiply-adds, more than may still go"):
        DropLayers(0.1)(small.original, small)


@pytest.mark.parametrize("settings", [{"ratio": 0.0}, {"ratio": 1.0}, {"epochs": -1}, {"lr": 0.0}, {"seed": -1}])
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="cannot drop layers"):
        DropLayers(**settings)
