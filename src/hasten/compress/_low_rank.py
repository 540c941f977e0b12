"""Chains of smaller layers that come as near to a layer as their ranks allow, made from its weights alone.

Convolutions of one to three dimensions, weights [out, in, ...], and linear layers, [out, in]. A form says first how
large the parts are, since that is what they cost, and what their weights are once the ranks have been chosen.
"""

import contextlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from hasten.compress._places import Description, Layer, chain_of

ROUNDS, SMALL = 100, 1e-6  # of alternating least squares, and the gain at which they end


@dataclass(frozen=True)
class Part:
    """A layer of a chain; along `axes` of the kernel it has the length, stride, padding and dilation of the whole."""

    into: int
    out: int
    axes: range = range(0)
    groups: int = 1


class Form(ABC):
    """One way to take a layer apart; its ranks are the numbers of channels in between."""

    @abstractmethod
    def spectra(self, layer: Layer) -> list[torch.Tensor]:
        """For each rank the matrix whose singular values tell what it keeps; none where there is no such matrix."""

    @abstractmethod
    def parts(self, layer: Layer, *ranks: int) -> list[Part]: ...

    @abstractmethod
    def weights(self, layer: Layer, *ranks: int) -> list[torch.Tensor]:
        """Of each part; of its number of elements, in its order."""


class Outputs(Form):
    """The layer with `rank` outputs, then 1x1 (Zhang et al. 2016, arXiv:1505.06798), by singular values."""

    def spectra(self, layer: Layer) -> list[torch.Tensor]:
        return [_weight(layer).flatten(1)]

    def parts(self, layer: Layer, *ranks: int) -> list[Part]:
        into, out = _channels(layer)
        return [Part(into, ranks[0], _axes(layer)), Part(ranks[0], out)]

    def weights(self, layer: Layer, *ranks: int) -> list[torch.Tensor]:
        left, right = halves(_weight(layer).flatten(1), ranks[0])
        return [right, left]


class Spatial(Form):
    """k x 1 into `rank` channels, then 1 x k (Jaderberg et al. 2014, arXiv:1405.3866), by singular values.

    The first axis of the kernel stands in the first part, the others in the second.
    """

    def spectra(self, layer: Layer) -> list[torch.Tensor]:
        weight = _weight(layer)
        weight = weight[..., None] if weight.ndim == 2 else weight  # a linear layer is a kernel of length 1
        return [weight.movedim(0, 2).flatten(2).flatten(0, 1)]  # [in x first, out x others]

    def parts(self, layer: Layer, *ranks: int) -> list[Part]:
        into, out = _channels(layer)
        axes = _axes(layer)
        return [Part(into, ranks[0], axes[:1]), Part(ranks[0], out, axes[1:])]

    def weights(self, layer: Layer, *ranks: int) -> list[torch.Tensor]:
        left, right = halves(self.spectra(layer)[0], ranks[0])
        _, out = _channels(layer)
        return [left.T, right.reshape(ranks[0], out, -1).transpose(0, 1)]


class Tucker(Form):
    """1x1 into the first rank, k x k to the second, 1x1: Tucker-2 (Kim et al. 2016, arXiv:1511.06530)."""

    def spectra(self, layer: Layer) -> list[torch.Tensor]:
        return [_weight(layer).transpose(0, 1).flatten(1), _weight(layer).flatten(1)]

    def parts(self, layer: Layer, *ranks: int) -> list[Part]:
        into, out = _channels(layer)
        return [Part(into, ranks[0]), Part(ranks[0], ranks[1], _axes(layer)), Part(ranks[1], out)]

    def weights(self, layer: Layer, *ranks: int) -> list[torch.Tensor]:
        from tensorly.decomposition import partial_tucker

        with _torch():
            (core, (last, first)), _ = partial_tucker(
                _weight(layer), ranks[::-1], modes=[0, 1], n_iter_max=ROUNDS, tol=SMALL
            )
        return [first.T, core, last]


class Polyadic(Form):
    """1x1 into `rank` channels, a depthwise k x k, 1x1: CP (Lebedev et al. 2015, arXiv:1412.6553).

    The axes of the kernel are left together: one small layer less, and nearer at the same rank.
    """

    def spectra(self, layer: Layer) -> list[torch.Tensor]:
        return []

    def parts(self, layer: Layer, *ranks: int) -> list[Part]:
        into, out = _channels(layer)
        rank = ranks[0]
        return [Part(into, rank), Part(rank, rank, _axes(layer), rank), Part(rank, out)]

    def weights(self, layer: Layer, *ranks: int) -> list[torch.Tensor]:
        from tensorly.decomposition import parafac

        with _torch(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Trying to compute SVD")  # it starts what is beyond with random numbers
            scale, (last, first, kernel) = parafac(
                _weight(layer).flatten(2), ranks[0], n_iter_max=ROUNDS, tol=SMALL, init="svd",
                normalize_factors=True, random_state=0,
            )  # fmt: skip
        even = scale.abs() ** (1 / 3)
        return [(first * even).T, (kernel * even).T, last * even * scale.sign()]


class Depthwise(Form):
    """`rank` kernels for each channel, then 1x1; the nearest there is, since each channel has a matrix of its own.

    Howard et al. 2017, arXiv:1704.04861; from trained weights: Guo et al. 2018, arXiv:1802.03806.
    """

    def spectra(self, layer: Layer) -> list[torch.Tensor]:
        return []

    def parts(self, layer: Layer, *ranks: int) -> list[Part]:
        into, out = _channels(layer)
        return [Part(into, into * ranks[0], _axes(layer), into), Part(into * ranks[0], out)]

    def weights(self, layer: Layer, *ranks: int) -> list[torch.Tensor]:
        left, right = halves(_weight(layer).flatten(2).transpose(0, 1), ranks[0])  # of [in, out, kernel]
        return [right, left.transpose(0, 1)]


def empty(layer: Layer, parts: list[Part]) -> nn.Sequential:
    """The chain on the meta device, without weights; the bias stands in the last part."""
    kind = type(layer).__name__
    described: Description = []
    for part in parts:
        bias = layer.bias is not None and part is parts[-1]
        if isinstance(layer, nn.Linear):
            sizes: dict[str, Any] = {"in_features": part.into, "out_features": part.out}
        else:
            sizes = {"in_channels": part.into, "out_channels": part.out, "groups": part.groups}
            for size, otherwise in (("kernel_size", 1), ("stride", 1), ("padding", 0), ("dilation", 1)):
                whole = getattr(layer, size)  # of padding a word too, which says of each axis what it needs
                each = (v if axis in part.axes else otherwise for axis, v in enumerate(whole))
                sizes[size] = whole if isinstance(whole, str) else tuple(each)
            sizes["padding_mode"] = layer.padding_mode
        described.append((kind, sizes | {"bias": bias}))
    with torch.device("meta"):
        return chain_of(described)


def filled(layer: Layer, form: Form, *ranks: int) -> nn.Sequential:
    """The chain with weights that make it answer nearly as the layer, in its type, on its device."""
    chain = empty(layer, form.parts(layer, *ranks)).to_empty(device=layer.weight.device).to(layer.weight.dtype)
    values = dict(zip((f"{i}.weight" for i in range(len(chain))), form.weights(layer, *ranks), strict=True))
    if layer.bias is not None:
        values[f"{len(chain) - 1}.bias"] = layer.bias
    chain.load_state_dict({k: v.reshape(chain.state_dict()[k].shape) for k, v in values.items()})
    return chain.train(layer.training)


def halves(matrix: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """[..., n, m] as [..., n, rank] times [..., rank, m], the nearest there is; of equal size, as training likes it."""
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    root = values[..., :rank].sqrt()
    return left[..., :rank] * root[..., None, :], root[..., :, None] * right[..., :rank, :]


def _weight(layer: Layer) -> torch.Tensor:
    return layer.weight.detach().double()


def _channels(layer: Layer) -> tuple[int, int]:
    """In and out."""
    return layer.weight.shape[1], layer.weight.shape[0]


def _axes(layer: Layer) -> range:
    return range(layer.weight.ndim - 2)


@contextlib.contextmanager
def _torch() -> Iterator[None]:
    import tensorly

    with tensorly.backend_context("pytorch", local_threadsafe=True):
        yield
