"""What is trained: the network, and beside it what a hint needs; and the distance to softened answers."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import nn

from hasten.engines.torch import named

Feed = Sequence[torch.Tensor]


class Hint(Protocol):
    """A further term of the loss, made of what some layers give."""

    layers: Sequence[str]  # of the network that learns, by name
    module: nn.Module  # (features, as `layers` has them, feed) -> scalar; its parameters are trained, and left behind


class Learner(nn.Module):
    """Network and hint as one module, since several processes train one."""

    def __init__(self, net: nn.Module, hint: Hint | None) -> None:
        super().__init__()
        self.net, self.hint = net, hint.module if hint else None
        self._seen: dict[str, torch.Tensor] = {}
        self._layers = tuple(hint.layers) if hint else ()
        watch(net, self._layers, self._seen)

    def forward(self, feed: Feed) -> tuple[Any, torch.Tensor]:
        self._seen.clear()
        answer = self.net(*feed)
        features = [self._seen[name] for name in self._layers]
        extra = self.hint(features, feed) if self.hint is not None else feed[0].new_zeros((), dtype=torch.float)
        self._seen.clear()
        return answer, extra


def watch(net: nn.Module, layers: Iterable[str], seen: dict[str, torch.Tensor]) -> None:
    """From now on `seen` holds what each of these layers gave when it last ran."""
    for name in layers:
        net.get_submodule(name).register_forward_hook(partial(_keep, name, seen))


def _keep(name: str, seen: dict[str, torch.Tensor], layer: nn.Module, given: Any, made: torch.Tensor) -> None:
    seen[name] = made


class OnDevice(nn.Module):
    """The network where it is trained, for arrays that come from the CPU."""

    def __init__(self, net: nn.Module, place: Any) -> None:
        super().__init__()
        self.net, self._place = net, place

    def forward(self, *feed: torch.Tensor) -> Any:
        answer = self.net(*(self._place(t.numpy()) for t in feed))
        return {name: t.float() if t.is_floating_point() else t for name, t in named(answer).items()}


def softened(mine: torch.Tensor, his: torch.Tensor, temperature: float) -> torch.Tensor:
    """Kullback-Leibler divergence of softened scores [B, ..., classes], times T² as its gradients want it."""
    scores, target = (x.reshape(-1, x.shape[-1]) / temperature for x in (mine, his))
    logs = torch.log_softmax(scores, 1), torch.log_softmax(target, 1)
    return nn.functional.kl_div(*logs, reduction="batchmean", log_target=True) * temperature**2
