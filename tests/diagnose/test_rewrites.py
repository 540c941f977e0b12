"""Each rewrite answers as what it stands for, in double precision; and says where there is nothing to do."""

import inspect
import re
import sys
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils import parametrizations

from hasten.diagnose.export_fix import rewrites
from hasten.errors import NotApplicable

RNG = torch.Generator().manual_seed(0)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=RNG, dtype=torch.float64)


class Does(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: torch.Tensor) -> object:
        return self.function(*inputs)


def both(name: str, module: nn.Module, *inputs: torch.Tensor) -> tuple[object, object]:
    """What the module answers, and what its rewrite does."""
    made = rewrites()[name].rewritten(module, lambda it: it(*(x.clone() for x in inputs)))
    assert isinstance(made, type(module))
    with torch.inference_mode():
        return module(*(x.clone() for x in inputs)), made(*(x.clone() for x in inputs))


def same(name: str, function: Callable[..., object], *inputs: torch.Tensor, exact: bool = True) -> None:
    before, after = both(name, Does(function), *inputs)
    assert type(before) is type(after) or isinstance(before, tuple)
    for a, b in zip(*((x if isinstance(x, tuple) else (x,)) for x in (before, after)), strict=True):
        torch.testing.assert_close(b, a, rtol=0 if exact else 1e-9, atol=0 if exact else 1e-9)


@pytest.mark.parametrize("name", sorted(rewrites()))
def test_it_explains_itself_has_a_test_and_declines(name: str) -> None:
    rewrite = rewrites()[name]
    assert re.match(rf"{name}: .+\n\nWhat breaks \((torch \d|any torch)", rewrite.__doc__)
    assert rewrite.SAYS
    assert not rewrite.SAYS.endswith(".")
    assert any(f.startswith(f"test_{name}_") for f, _ in inspect.getmembers(sys.modules[__name__], inspect.isfunction))
    with pytest.raises(NotApplicable):
        rewrite.rewritten(nn.ReLU(), lambda it: it(torch.ones(2, 3)))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_branches_take_the_way_that_is_true(sign: float) -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        if x.sum() > 0:
            x = x * 3
            if x[0, 0] > 100:
                return x
        return x + x.abs().max().item() if x.mean().item() < 0 else x - 1

    same("branches", forward, drawn(4, 3).abs() * sign)


def test_branches_that_only_check_are_lost_and_loops_are_refused() -> None:
    def checks(x: torch.Tensor) -> torch.Tensor:
        if torch.isnan(x).any():
            raise ValueError("not a number")
        return x * 2

    same("branches", checks, drawn(2, 3))

    def halves(x: torch.Tensor) -> torch.Tensor:
        while x.abs().max() > 1:
            x = x / 2
        return x

    with pytest.raises(NotApplicable, match="a loop whose end depends on data"):
        both("branches", Does(halves), drawn(2, 3) * 8)

    def shapes(x: torch.Tensor) -> torch.Tensor | None:
        return x if x.sum() > 0 else None

    with pytest.raises(NotApplicable, match="differ"):
        both("branches", Does(shapes), drawn(2, 3))


@pytest.mark.parametrize("size", [1, 2, 5, 16])
def test_inverse_with_pivots(size: int) -> None:
    matrix = drawn(3, size, size)
    matrix[0, 0, 0] = 0.0 if size > 1 else 1.0  # nothing could be divided by it
    for function in (torch.linalg.inv, torch.inverse, lambda x: x.inverse()):
        same("inverse", function, matrix, exact=False)


def test_inverse_solves_too() -> None:
    matrix = drawn(3, 4, 4)
    same("inverse", torch.linalg.solve, matrix, drawn(3, 4, 2), exact=False)
    same("inverse", torch.linalg.solve, matrix, drawn(3, 4), exact=False)
    same("inverse", torch.linalg.solve, matrix[0], drawn(4), exact=False)
    with pytest.raises(NotApplicable):  # from the right: declined
        both("inverse", Does(lambda a, b: torch.linalg.solve(a, b, left=False)), matrix, drawn(3, 2, 4))


def test_cholesky_of_both_kinds() -> None:
    root = drawn(3, 5, 5)
    matrix = root @ root.transpose(1, 2) + torch.eye(5)
    same("cholesky", torch.linalg.cholesky, matrix, exact=False)
    same("cholesky", lambda x: torch.linalg.cholesky(x, upper=True), matrix, exact=False)


def test_baked_weights_are_those() -> None:
    torch.manual_seed(0)
    layers = nn.Linear(6, 6), nn.Conv2d(2, 4, 3)
    net = nn.Sequential(parametrizations.orthogonal(layers[0])).double().eval()
    before, after = both("baked", net, drawn(2, 6))
    assert torch.equal(before, after)
    held = nn.Sequential(parametrizations.weight_norm(layers[1])).double().eval()
    before, after = both("baked", held, drawn(2, 2, 5, 5))
    assert torch.equal(before, after)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.AdaptiveMaxPool1d(3), (2, 2, 7)),
        (nn.AdaptiveMaxPool2d((5, 3)), (2, 2, 7, 8)),
        (nn.AdaptiveMaxPool2d((None, 4)), (2, 3, 9)),
        (nn.AdaptiveMaxPool3d(2), (1, 2, 3, 5, 4)),
    ],
)
def test_max_bins_are_those_of_torch(layer: nn.Module, shape: tuple[int, ...]) -> None:
    before, after = both("max_bins", layer, drawn(*shape))
    assert torch.equal(before, after)
    with pytest.raises(NotApplicable):
        both("max_bins", Does(lambda x: F.adaptive_max_pool2d(x, 3, return_indices=True)), drawn(2, 7, 7))


@pytest.mark.parametrize("length", [5, 6])
def test_ranked_values_and_places(length: int) -> None:
    x = drawn(3, length)
    same("ranked", lambda x: tuple(torch.median(x, 1)), x)
    same("ranked", lambda x: tuple(x.median(dim=0, keepdim=True)), x)
    same("ranked", lambda x: x.median(), x)
    same("ranked", lambda x: x.kthvalue(2).values, x)
    same("ranked", lambda x: tuple(torch.kthvalue(x, 3, 1, keepdim=True)), x)


@pytest.mark.parametrize("how", [{}, {"right": True}, {"side": "right"}, {"side": "left"}, {"out_int32": True}])
def test_counted_places(how: dict[str, object]) -> None:
    edges = torch.tensor([-1.0, 0.0, 0.0, 2.0], dtype=torch.float64)
    x = torch.tensor([[-3.0, -1.0, 0.0], [0.5, 2.0, 9.0]], dtype=torch.float64)
    same("counted", lambda e, v: torch.searchsorted(e, v, **how), edges, x)
    rows = torch.stack([edges, edges * 2])
    same("counted", lambda e, v: torch.searchsorted(e, v, **how), rows, x)


@pytest.mark.parametrize("include_self", [True, False])
def test_scatter_mean_divides_by_how_many_came(include_self: bool) -> None:
    where = torch.tensor([[0, 0, 2, 2, 2], [1, 1, 1, 1, 3]])

    def forward(start: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return start.scatter_reduce(1, where, x, "mean", include_self=include_self)

    same("scatter_mean", forward, drawn(2, 4), drawn(2, 5), exact=False)
    with pytest.raises(NotApplicable):
        both("scatter_mean", Does(lambda s, x: s.scatter_reduce(1, where, x, "sum")), drawn(2, 4), drawn(2, 5))


@pytest.mark.parametrize("p", [0.0, 1.0, 2.0, 3.0, float("inf")])
def test_distances_of_every_norm(p: float) -> None:
    same("distances", lambda a, b: torch.cdist(a, b, p), drawn(2, 5, 3), drawn(2, 4, 3), exact=False)


def test_running_values_and_places() -> None:
    x = drawn(3, 6)
    x[0, 3] = x[0, 2]
    same("running", lambda x: torch.cumprod(x, 1), x)
    same("running", lambda x: tuple(x.cummax(1)), x)
    same("running", lambda x: tuple(torch.cummin(x, dim=0)), x)


def test_plain_outputs_keep_every_tensor() -> None:
    x = drawn(2, 3)
    module = Does(lambda x: {"a": x, "b": [x * 2, None, (x + 1, 3)], "c": {"d": x - 1}})
    before, after = both("plain_outputs", module, x)
    assert list(after) == ["a", "b.0", "b.2.0", "c.d"]
    assert torch.equal(after["b.2.0"], before["b"][2][0])
    one = both("plain_outputs", Does(lambda x: (x, None)), x)[1]
    assert list(one) == ["output0"]
