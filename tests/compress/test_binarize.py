"""binarize: two or three values an output, the nearest there are, and training goes through them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from trainable import accuracy, convolutions, quadrants

from hasten import checkpoint
from hasten.compress._rounded import Signs
from hasten.compress.binarize import Binarize
from hasten.errors import NotApplicable, UsageError


def wide() -> nn.Sequential:
    """A layer between the first and the last."""
    return convolutions(width=32)


@pytest.mark.parametrize(("values", "most"), [("two", 2), ("three", 3)])
def test_an_output_has_so_many_values(values: Any, most: int) -> None:
    task = quadrants(wide)
    net, made = task.original.module, Binarize(values)(task.original, task)
    assert made.edits[0]["layers"] == ["2"]
    assert made.edits[0]["untouched"] == dict.fromkeys(["0", "6"], "it is the first or the last layer")
    for old, new in zip(net[2].weight, made.module[2].weight, strict=True):
        assert len(new.unique()) == most
        kept = new != 0
        assert torch.equal(new[kept].sign(), old[kept].sign())
        torch.testing.assert_close(new[kept].abs().mean(), old[kept].abs().mean())
        assert (old[~kept].abs() <= 0.7 * old.abs().mean()).all()
    for name, value in net.state_dict().items():
        assert name == "2.weight" or torch.equal(value, made.module.state_dict()[name])


def test_gradients_go_straight_through() -> None:
    weight = torch.randn(3, 8, requires_grad=True)
    above = torch.randn(3, 8)
    (Signs(zero=True)(weight) * above).sum().backward()
    assert torch.equal(weight.grad, above)


@pytest.mark.parametrize("values", ["two", "three"])
def test_it_heals_to_rounded_weights_and_is_kept(values: Any, tmp_path: Path) -> None:
    task = quadrants(wide)
    made = Binarize(values, epochs=8, lr=5e-3)(task.original, task)
    assert accuracy(task, made.module) > 0.9
    assert max(len(row.unique()) for row in made.module[2].weight) <= 3
    again = checkpoint.load(checkpoint.save(made, tmp_path / "c"), task)
    assert again.digest() == made.digest()


def test_there_may_be_nothing_to_do() -> None:
    task = quadrants(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 4)))
    with pytest.raises(NotApplicable, match="nothing to do: 1: it is the first or the last layer; 3: it is the first"):
        Binarize()(task.original, task)


@pytest.mark.parametrize("settings", [{"epochs": -1}, {"lr": 0.0}, {"seed": -1}])
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="cannot binarize"):
        Binarize(**settings)
