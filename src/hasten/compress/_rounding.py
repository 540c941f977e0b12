"""A network that rounds as its INT8 file will: what quantization-aware training trains.

Which values are rounded is seen from the calls that the network makes, whoever makes them: modules, functions, `+`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from hasten.graph._int8 import Scale, narrowed
from hasten.graph._ranges import BINS, Estimator, Seen

LAYERS = {torch.conv1d, torch.conv2d, torch.conv3d, functional.linear}  # (input, weight, ...)
PRODUCTS = {torch.matmul, torch.bmm, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.Tensor.bmm}
INTO_THE_FIRST = {torch.Tensor.add_, torch.Tensor.__iadd__}
SUMS = {torch.add, torch.Tensor.add, torch.Tensor.__add__} | INTO_THE_FIRST
ATTENTION = functional.scaled_dot_product_attention
ALONG = {  # between a convolution and the end of its 8 bits
    functional.batch_norm, functional.relu, functional.relu_, functional.relu6, functional.hardtanh, torch.relu,
    torch.relu_, torch.clamp, torch.Tensor.relu, torch.Tensor.relu_, torch.Tensor.clamp,
}  # fmt: skip
OPERANDS = ("input", "query", "weight", "other", "mat2", "tensor2", "key", "value")  # by name, in the order of place
NORMS = nn.modules.batchnorm._BatchNorm
WEIGHED = (nn.modules.conv._ConvNd, nn.Linear)
Site = str  # the module that is at work and how many values it has handed over in this forward: `layer1.conv:0`
Rule = Callable[[torch.Tensor, Site], torch.Tensor]  # (a value, its site) -> what is computed with


class Rounding(nn.Module):
    """The network, whose layers read rounded inputs and rounded weights; gradients pass as if nothing was rounded.

    What calibration has not seen, a branch of training alone, is not rounded. Batch norms keep their statistics, since
    the INT8 file has them folded into the weights (Jacob et al. 2018, arXiv:1712.05877).
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.sites: dict[Site, int] = {}  # -> its place in these
        self.register_buffer("steps", torch.zeros(0))
        self.register_buffer("zeros", torch.zeros(0, dtype=torch.int32))
        self.shares = nn.ParameterDict()  # of the widest step of a weight's rows, by place

    def forward(self, *feed: torch.Tensor) -> Any:
        with _Calls(self.net, self._rounded, self._stored, self.sites):
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
        seen: dict[Site, _Watched] = {}

        def extremes(value: torch.Tensor, site: Site) -> torch.Tensor:
            at = seen.setdefault(site, _Watched())
            at.low, at.high = min(at.low, float(value.min())), max(at.high, float(value.max()))
            return value

        def histograms(value: torch.Tensor, site: Site) -> torch.Tensor:
            at = seen[site]
            if at.high > at.low:
                at.counts += np.histogram(value.numpy(), BINS, (at.low, at.high))[0]
            return value

        weights: dict[Site, torch.Tensor] = {}

        def weigh(weight: torch.Tensor, site: Site) -> torch.Tensor:
            weights[site] = weight
            return weight

        with torch.inference_mode():
            for rule in (extremes, histograms):
                for feed in feeds():
                    with _Calls(self.net, rule, weigh):
                        self.net(*feed)
        self.sites = {site: place for place, site in enumerate(seen)}
        ends = (Seen(s.low, s.high, s.counts, None).range(estimator) for s in seen.values())
        scales = [Scale.of(low, high, symmetric=False) for low, high in ends]
        self.steps = torch.tensor([s.step for s in scales], dtype=torch.float32)
        self.zeros = torch.tensor([int(s.zero) for s in scales], dtype=torch.int32)
        for site, weight in weights.items() if estimator == "mse" else ():
            rows = weight.detach().numpy().reshape(len(weight), -1)
            shares = narrowed(rows, np.maximum(np.abs(rows).max(1), 1e-12) / 127)
            self.shares[str(self.sites[site])] = nn.Parameter(torch.from_numpy(shares).float(), requires_grad=False)
        return len(scales)

    def _rounded(self, value: torch.Tensor, site: Site) -> torch.Tensor:
        place = self.sites[site]
        made = torch.fake_quantize_per_tensor_affine(value.float(), self.steps[place], self.zeros[place], 0, 255)
        return made.to(value.dtype)

    def _stored(self, weight: torch.Tensor, site: Site) -> torch.Tensor:
        steps = weight.detach().flatten(1).abs().amax(1).clamp_min(1e-12) / 127
        if (place := str(self.sites[site])) in self.shares:
            steps = steps * self.shares[place]
        zeros = torch.zeros(len(steps), dtype=torch.int32, device=weight.device)
        return torch.fake_quantize_per_channel_affine(weight, steps, zeros, 0, -127, 127)


@dataclass
class _Watched:
    low: float = 0.0
    high: float = 0.0
    counts: np.ndarray = field(default_factory=lambda: np.zeros(BINS, np.int64))


class _Calls(TorchFunctionMode):
    """Hands what layers, products and sums take to a rule first. A sum counts where all it takes is INT8 already."""

    def __init__(self, net: nn.Module, activation: Rule, weight: Rule, known: Mapping[Site, int] | None = None) -> None:
        """
        Args:
            known: sites that count; None: all that come.
        """
        super().__init__()
        self._activation, self._weight, self._known = activation, weight, known
        self._names = {module: name for name, module in net.named_modules()}
        self._inside: list[nn.Module] = []  # of net, outermost first
        self._count: dict[nn.Module, int] = {}  # sites so far, by module
        self._whole: dict[int, torch.Tensor] = {}  # values that are in 8 bits where they end, kept alive for their ids

    def __enter__(self) -> Self:
        super().__enter__()  # type: ignore[no-untyped-call]
        hooks = nn.modules.module
        self._hooks = [
            hooks.register_module_forward_pre_hook(lambda module, given: self._inside.append(module)),
            hooks.register_module_forward_hook(lambda module, given, made: self._left(), always_call=True),
        ]
        return self

    def __exit__(self, *fault: Any) -> None:
        super().__exit__(*fault)  # type: ignore[no-untyped-call]
        for hook in self._hooks:
            hook.remove()

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given, named = list(args), dict(kwargs or {})
        if function in LAYERS | PRODUCTS | SUMS or function is ATTENTION:
            given += [named.pop(name) for name in OPERANDS if name in named]
            self._hand_over(function, given)
        rounded = function in INTO_THE_FIRST and given[0] is not args[0]  # a copy, which nobody else sees
        made = args[0].copy_(torch.add(*given, **named)) if rounded else function(*given, **named)
        if (function in LAYERS and function is not functional.linear) or (
            function in ALONG | SUMS and self._all_whole(given[: 2 if function in SUMS else 1])
        ):
            self._whole[id(made)] = made
        return made

    def _hand_over(self, function: Any, given: list[Any]) -> None:
        """Put what a rule makes of them in place of the operands."""
        first, second = given[:2]
        if not isinstance(second, torch.Tensor) or not (first.is_floating_point() and second.is_floating_point()):
            return
        if function in SUMS:
            sites = [self._site(), self._site()]  # counted whether they are rounded or not
            if self._known is None and not self._all_whole(given[:2]):
                return
        elif function is ATTENTION:
            sites = [self._site() for _ in given[:3]]
        else:
            sites = [self._site()]
            if function in LAYERS and (isinstance(second, nn.Parameter) or isinstance(self._inside[-1], WEIGHED)):
                given[1] = self._weigh(second, sites[0])
            elif isinstance(second, nn.Parameter) and second.dim() > 1:  # its columns are what has a scale each
                given[1] = self._weigh(second.movedim(-1, 0), sites[0]).movedim(0, -1)
            else:
                sites.append(self._site())
        for place, site in enumerate(sites):
            given[place] = self._at(given[place], site)

    def _site(self) -> Site:
        module = self._inside[-1]
        self._count[module] = self._count.get(module, -1) + 1
        return f"{self._names.get(module, '')}:{self._count[module]}"

    def _at(self, value: torch.Tensor, site: Site) -> torch.Tensor:
        if self._known is not None and site not in self._known:
            return value
        made = self._activation(value, site)
        self._whole |= {id(value): value, id(made): made}
        return made

    def _weigh(self, weight: torch.Tensor, site: Site) -> torch.Tensor:
        return self._weight(weight, site) if self._known is None or site in self._known else weight

    def _left(self) -> None:
        self._inside.pop()

    def _all_whole(self, values: list[Any]) -> bool:
        return all(id(v) in self._whole for v in values)
