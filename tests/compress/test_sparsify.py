"""sparsify: the smallest weights are zero, as many as were asked, and stay so while the network heals."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from trainable import accuracy, convolutions, quadrants

from hasten import checkpoint
from hasten.compress.sparsify import Sparsify
from hasten.errors import NotApplicable, UsageError

LAYERS = ("0", "2", "6")


def shares(module: nn.Module) -> list[float]:
    return [float((module.get_submodule(name).weight == 0).float().mean()) for name in LAYERS]


def test_the_smallest_of_every_layer_go() -> None:
    task = quadrants(convolutions)
    before, after = task.original.module, Sparsify(0.75)(task.original, task).module
    assert shares(after) == pytest.approx([0.75] * 3, abs=0.01)
    for name in LAYERS:
        old, new = before.get_submodule(name).weight, after.get_submodule(name).weight
        assert old[new == 0].abs().max() <= old[new != 0].abs().min()
        assert torch.equal(new[new != 0], old[new != 0])
        assert torch.equal(before.get_submodule(name).bias, after.get_submodule(name).bias)


def test_over_the_whole_network_layers_differ() -> None:
    """What is even in size stays longer than what has a few large weights."""
    net = convolutions()
    with torch.no_grad():
        net[0].weight.fill_(1.0)
    task = quadrants(lambda: net)
    made = Sparsify(0.4, scope="global")(task.original, task)
    found = shares(made.module)
    assert found[0] == 0
    assert min(found[1:]) > 0.3
    sizes = [net.get_submodule(name).weight.numel() for name in LAYERS]
    assert sum(f * n for f, n in zip(found, sizes, strict=True)) == pytest.approx(0.4 * sum(sizes), abs=2)


def test_two_of_four_along_the_inputs() -> None:
    task = quadrants(convolutions)
    made = Sparsify(pattern="2:4")(task.original, task)
    for name in ("2", "6"):
        old, new = task.original.module.get_submodule(name).weight, made.module.get_submodule(name).weight
        groups, was = (w.movedim(1, -1).reshape(-1, 4) for w in (new, old))
        assert torch.all((groups != 0).sum(1) == 2)
        assert torch.equal(groups.abs().sum(1), was.abs().sort(1, descending=True).values[:, :2].sum(1))
    assert made.edits[0]["untouched"] == {"0": "its 1 inputs are no multiple of 4"}


def test_it_goes_in_steps_heals_and_is_kept(tmp_path: Path) -> None:
    """Zeros stay zeros, and what is kept learns."""
    task = quadrants(lambda: convolutions(width=32))
    made = Sparsify(0.8, steps=2, epochs=6, lr=5e-3)(task.original, task)
    assert shares(made.module) == pytest.approx([0.8] * 3, abs=0.01)
    assert accuracy(task, made.module) > 0.9
    assert {name for name, _ in made.module.named_parameters()} == {n for n, _ in convolutions().named_parameters()}
    assert made.edits[0]["zeros"] == dict(zip(LAYERS, shares(made.module), strict=True))
    again = checkpoint.load(checkpoint.save(made, tmp_path / "c"), task)
    assert again.digest() == made.digest()


def test_there_may_be_nothing_to_do() -> None:
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wave = nn.GRU(8, 4, batch_first=True)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.wave(image[:, 0])[0][:, -1]

    task = quadrants(Words)
    with pytest.raises(NotApplicable, match="nothing to do: wave: GRU is neither a convolution nor a linear layer"):
        Sparsify()(task.original, task)


@pytest.mark.parametrize(
    "settings",
    [{"ratio": 1.0}, {"steps": 0}, {"epochs": -1}, {"pattern": "2:4", "ratio": 0.7}, {"pattern": "2:4", "steps": 2}],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="cannot make sparse"):
        Sparsify(**settings)
