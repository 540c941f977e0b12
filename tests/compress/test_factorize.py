"""factorize: parts of full rank answer as the layer does; of lower rank they keep what was asked, or it is said."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from trainable import accuracy, convolutions, quadrants

from hasten import checkpoint
from hasten.compress import _low_rank
from hasten.compress._places import Layer, places
from hasten.compress.factorize import Factorize
from hasten.engines.torch import call
from hasten.errors import InputError, NotApplicable, UsageError

LAYERS = {
    "linear": (nn.Linear(12, 10), (2, 5, 12)),
    "1-D": (nn.Conv1d(6, 8, 5, stride=2, padding=1, dilation=2), (2, 6, 30)),
    "2-D": (nn.Conv2d(6, 8, (3, 5), stride=(2, 1), padding=(1, 3), dilation=(1, 2)), (2, 6, 11, 12)),
    "reflected": (nn.Conv2d(6, 8, 3, padding=1, padding_mode="reflect", bias=False), (2, 6, 7, 7)),
    "same": (nn.Conv2d(6, 8, (3, 5), padding="same"), (2, 6, 7, 7)),
    "1x1": (nn.Conv2d(6, 8, 1, stride=2), (2, 6, 7, 7)),
    "3-D": (nn.Conv3d(4, 6, (3, 2, 3), stride=(1, 2, 1), padding=(1, 0, 1)), (2, 4, 5, 6, 7)),
}
FORMS = {"svd": _low_rank.Outputs(), "spatial": _low_rank.Spatial(), "tucker": _low_rank.Tucker()}


def whole(form: _low_rank.Form, layer: Layer) -> tuple[int, ...]:
    """The ranks at which nothing is lost."""
    return tuple(min(matrix.shape[-2:]) for matrix in form.spectra(layer))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("kind", FORMS)
def test_parts_of_full_rank_answer_as_the_layer(kind: str, name: str) -> None:
    layer, shape = LAYERS[name]
    if kind == "tucker" and name == "linear":
        pytest.skip("a matrix has no core: it takes two parts")
    torch.manual_seed(0)
    x = torch.randn(shape)
    chain = _low_rank.filled(layer, FORMS[kind], *whole(FORMS[kind], layer))
    torch.testing.assert_close(chain(x), layer(x), atol=1e-5, rtol=1e-4)
    assert [type(part) for part in chain] == [type(layer)] * len(chain)


def test_polyadic_parts_find_what_is_in_the_weights() -> None:
    """A kernel that is the sum of five products is found again."""
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 12, 3, padding=1)
    out, into, kernel = torch.randn(12, 5), torch.randn(8, 5), torch.randn(9, 5)
    with torch.no_grad():
        layer.weight.copy_(torch.einsum("or,ir,kr->oik", out, into, kernel).reshape(layer.weight.shape))
    chain = _low_rank.filled(layer, _low_rank.Polyadic(), 5)
    x = torch.randn(2, 8, 6, 6)
    with torch.no_grad():
        wanted = layer(x)
        assert (chain(x) - wanted).norm() < 0.01 * wanted.norm()


def narrow(rank: int) -> nn.Sequential:
    """A layer of 64 features of which few directions are in use, and a head too small to gain."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
    left, _ = torch.linalg.qr(torch.randn(64, 64))
    with torch.no_grad():
        net[1].weight.copy_(left[:, :rank] @ torch.randn(rank, 64))
    return net


def test_a_layer_of_low_rank_loses_nothing() -> None:
    net = narrow(8)
    task = quadrants(lambda: net)
    made = Factorize(energy=0.999999)(task.original, task)
    assert [tuple(p.weight.shape) for p in made.module[1]] == [(8, 64), (64, 8)]
    assert list(made.edits[0]["untouched"]) == ["3"]
    assert "as many multiply-adds" in made.edits[0]["untouched"]["3"]
    feed = next(task.split("test").batches(64))
    np.testing.assert_allclose(call(made.module, feed)["output"], call(net, feed)["output"], atol=1e-5)


@pytest.mark.parametrize("method", ["spatial", "svd", "tucker", "cp"])
def test_as_many_multiply_adds_go_as_were_asked(method: Any) -> None:
    net = convolutions(width=64)
    task = quadrants(lambda: net)
    found, _ = places(task.original, task)
    before = sum(place.macs for place in found)
    made = Factorize(0.6, method=method)(task.original, task)
    chains = made.edits[0]["layers"]
    after = sum(p.cost(made.module.get_submodule(p.name)) if p.name in chains else p.macs for p in found)
    assert 0.26 < after / before <= 0.4  # a step of 8 in the rank of the large layer is up to 0.14 of it
    assert "2" in chains
    assert np.isfinite(call(made.module, next(task.split("test").batches(8)))["output"]).all()


@pytest.mark.parametrize("method", ["spatial", "svd", "tucker"])
def test_every_layer_keeps_its_energy(method: Any) -> None:
    net = convolutions(width=48)
    task = quadrants(lambda: net)
    forms = {"2": FORMS[method], "6": FORMS["svd" if method == "svd" else "spatial"]}
    made = Factorize(energy=0.7, method=method)(task.original, task)
    assert made.edits[0]["layers"]
    for name, chain in made.edits[0]["layers"].items():
        parts = [part for _, part in chain][:-1]
        ranks = [part["out_features"] if "out_features" in part else part["out_channels"] for part in parts]
        for rank, matrix in zip(ranks, forms[name].spectra(net.get_submodule(name)), strict=True):
            values = torch.linalg.svdvals(matrix).square()
            assert values[:rank].sum() >= 0.7 * values.sum()
            assert rank <= 8 or values[: rank - 8].sum() < 0.7 * values.sum()  # and hardly more


class Odd(nn.Module):
    """Layers that nothing can stand for, each for a reason of its own."""

    class Own(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * 2

    def __init__(self) -> None:
        super().__init__()
        self.grouped, self.unused = nn.Conv2d(1, 2, 3, padding=1), nn.Linear(3, 3)
        self.grouped = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.turned = nn.ConvTranspose2d(1, 4, 1)
        self.mine, self.read = self.Own(4, 64), nn.Linear(64, 64)
        self.twin, self.other = nn.Linear(64, 64), nn.Linear(64, 64)
        self.other.weight = self.twin.weight
        self.plain, self.head = nn.Linear(64, 64), nn.Linear(64, 4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.mine(self.grouped(self.turned(image)).mean((2, 3)))
        x = self.read(x) * self.read.weight.std()
        return self.head(self.plain(self.other(self.twin(x))))


def test_what_cannot_be_touched_is_said() -> None:
    torch.manual_seed(0)
    net = Odd().eval()
    task = quadrants(lambda: net)
    made = Factorize()(task.original, task)
    assert list(made.edits[0]["layers"]) == ["plain"]
    said = made.edits[0]["untouched"]
    assert said["grouped"] == "its channels are in groups already"
    assert said["unused"] == "forward never calls it"
    assert said["turned"] == "ConvTranspose2d is neither a plain convolution nor a linear layer"
    assert said["mine"].startswith("Own is neither")
    assert said["read"] == "forward reads more of it than its answer"
    assert said["twin"] == said["other"] == "its weights are also those of twin.weight"


def test_there_may_be_nothing_to_do() -> None:
    task = quadrants(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 4)))
    with pytest.raises(NotApplicable, match=r"nothing to do: 1: its parts would need .* times as many"):
        Factorize()(task.original, task)


def test_it_heals_and_is_kept(tmp_path: Path) -> None:
    """What has learnt nothing yet learns in its new form."""
    task = quadrants(lambda: convolutions(width=32))
    alone, healed = (Factorize(0.7, epochs=e, lr=5e-3)(task.original, task) for e in (0, 8))
    assert accuracy(task, alone.module) < 0.6
    assert accuracy(task, healed.module) > 0.9
    again = checkpoint.load(checkpoint.save(healed, tmp_path / "c"), task)
    assert again.digest() == healed.digest()
    other = quadrants(lambda: narrow(8))
    with pytest.raises(InputError, match="build the network that was compressed"):
        checkpoint.load(tmp_path / "c", other)


@pytest.mark.parametrize(
    "settings",
    [{"ratio": 0.0}, {"ratio": 1.0}, {"energy": 1.0}, {"energy": 0.5, "method": "cp"}, {"epochs": -1}, {"lr": 0.0}],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="cannot factorize"):
        Factorize(**settings)
