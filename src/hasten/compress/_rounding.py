"""A network that rounds as its INT8 file will: what quantization-aware training trains.

Which values are rounded is seen from the calls that the network makes, whoever makes them: modules, functions, `+`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from hasten.graph._int8 import Scale, narrowed
from hasten.graph._ranges import BINS, Estimator, Seen

LAYERS = {torch.conv1d, torch.conv2d, torch.conv3d, functional.linear}  # (input, weight, ...)
PRODUCTS = {torch.matmul, torch.bmm, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.Tensor.bmm}
SUMS = {torch.add, torch.Tensor.add, torch.Tensor.add_, torch.Tensor.__add__, torch.Tensor.__iadd__}
ALONG = {  # between a convolution and the end of its 8 bits
    functional.batch_norm, functional.relu, functional.relu_, functional.relu6, functional.hardtanh, torch.relu,
    torch.relu_, torch.clamp, torch.Tensor.relu, torch.Tensor.relu_, torch.Tensor.clamp,
}  # fmt: skip
NORMS = nn.modules.batchnorm._BatchNorm
Rule = Callable[[torch.Tensor, int], torch.Tensor]  # (a value, the number of its site) -> what is computed with


class Rounding(nn.Module):
    """The network, whose layers read rounded inputs and rounded weights; gradients pass as if nothing was rounded.

    Sites are numbered in the order of the calls of one forward, which has to be the same each time. Batch norms keep
    their statistics, since the INT8 file has them folded into the weights (Jacob et al. 2018, arXiv:1712.05877).
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("steps", torch.zeros(0))
        self.register_buffer("zeros", torch.zeros(0, dtype=torch.int32))
        self.shares = nn.ParameterDict()  # of the widest step of a weight's rows, by site

    def forward(self, *feed: torch.Tensor) -> Any:
        with _Calls(self._rounded, self._stored):
            return self.net(*feed)

    def train(self, mode: bool = True) -> "Rounding":
        super().train(mode)
        for layer in self.modules():
            if isinstance(layer, NORMS):
                layer.eval()
        return self

    def calibrate(self, feeds: Callable[[], Iterator[list[torch.Tensor]]], estimator: Estimator) -> int:
        """Choose the ranges of all sites from the data, by two walks over it: for the extremes, for the histograms.

        Args:
            feeds: a new walk over inputs of calls, each time.

        Returns:
            The number of sites.
        """
        seen: dict[int, _Watched] = {}

        def extremes(value: torch.Tensor, site: int) -> torch.Tensor:
            at = seen.setdefault(site, _Watched())
            at.low, at.high = min(at.low, float(value.min())), max(at.high, float(value.max()))
            return value

        def histograms(value: torch.Tensor, site: int) -> torch.Tensor:
            at = seen[site]
            if at.high > at.low:
                at.counts += np.histogram(value.numpy(), BINS, (at.low, at.high))[0]
            return value

        weights: dict[int, torch.Tensor] = {}

        def weigh(weight: torch.Tensor, site: int) -> torch.Tensor:
            weights[site] = weight
            return weight

        with torch.inference_mode():
            for rule in (extremes, histograms):
                for feed in feeds():
                    with _Calls(rule, weigh):
                        self.net(*feed)
        ends = (Seen(s.low, s.high, s.counts, None).range(estimator) for _, s in sorted(seen.items()))
        scales = [Scale.of(low, high, symmetric=False) for low, high in ends]
        self.steps = torch.tensor([s.step for s in scales], dtype=torch.float32)
        self.zeros = torch.tensor([int(s.zero) for s in scales], dtype=torch.int32)
        for site, weight in weights.items() if estimator == "mse" else ():
            rows = weight.detach().numpy().reshape(len(weight), -1)
            shares = narrowed(rows, np.maximum(np.abs(rows).max(1), 1e-12) / 127)
            self.shares[str(site)] = nn.Parameter(torch.from_numpy(shares).float(), requires_grad=False)
        return len(scales)

    def _rounded(self, value: torch.Tensor, site: int) -> torch.Tensor:
        made = torch.fake_quantize_per_tensor_affine(value.float(), self.steps[site], self.zeros[site], 0, 255)
        return made.to(value.dtype)

    def _stored(self, weight: torch.Tensor, site: int) -> torch.Tensor:
        steps = weight.detach().flatten(1).abs().amax(1).clamp_min(1e-12) / 127
        if str(site) in self.shares:
            steps = steps * self.shares[str(site)]
        zeros = torch.zeros(len(steps), dtype=torch.int32, device=weight.device)
        return torch.fake_quantize_per_channel_affine(weight, steps, zeros, 0, -127, 127)


@dataclass
class _Watched:
    low: float = 0.0
    high: float = 0.0
    counts: np.ndarray = field(default_factory=lambda: np.zeros(BINS, np.int64))


class _Calls(TorchFunctionMode):
    """Hands what layers, products and sums take to a rule first. A sum counts where all it takes is INT8 already."""

    def __init__(self, activation: Rule, weight: Rule) -> None:
        super().__init__()
        self._activation, self._weight = activation, weight
        self._site = 0
        self._whole: dict[int, torch.Tensor] = {}  # values that are in 8 bits where they end, kept alive for their ids

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = list(args)
        tensors = [i for i, a in enumerate(given[:2]) if isinstance(a, torch.Tensor) and a.is_floating_point()]
        if function in LAYERS and len(tensors) == 2:
            weighs = isinstance(given[1], nn.Parameter)
            given[0] = self._at(given[0])
            given[1] = self._weight(given[1], self._site - 1) if weighs else self._at(given[1])
        elif (function in PRODUCTS or (function in SUMS and self._all_whole(given[:2]))) and len(tensors) == 2:
            given[:2] = map(self._at, given[:2])
        elif function is functional.scaled_dot_product_attention:
            given[:3] = map(self._at, given[:3])
        made = function(*given, **(kwargs or {}))
        if (function in LAYERS and function is not functional.linear) or (
            function in ALONG | SUMS and self._all_whole(given[: 2 if function in SUMS else 1])
        ):
            self._whole[id(made)] = made
        return made

    def _at(self, value: torch.Tensor) -> torch.Tensor:
        made = self._activation(value, self._site)
        self._site += 1
        self._whole |= {id(value): value, id(made): made}
        return made

    def _all_whole(self, values: list[Any]) -> bool:
        return all(id(v) in self._whole for v in values)
