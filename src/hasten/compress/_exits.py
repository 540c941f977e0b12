"""Heads behind inner blocks: where they can stand, how they learn, how sure they are, and which of them pays."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from hasten.compress._teacher import answers_of, taught
from hasten.compress.heal import Heal
from hasten.data import Data
from hasten.engines.torch import call, named
from hasten.model import Signature, Tensor, TorchModel
from hasten.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable

EARLIEST, LATEST = 0.05, 0.75  # share of the network's multiply-adds in front of a head
PLACES = 4  # heads that are trained together, at most
SAMPLES = 3  # of the call by which places are found
BY_CHANNEL = (nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.GroupNorm)  # channels behind the batch
WANTED = "hasten.wanted"  # the original's answers, as a further input of what learns
COLDEST, HOTTEST, STEPS = 0.05, 20.0, 200  # temperatures that are looked at


@dataclass(frozen=True)
class Place:
    """Behind a block.

    Attributes:
        name: of the block in its network.
        shape: of what it gives, without the samples.
        axis: of its channels, samples included.
        share: of the network's multiply-adds that are done when it has run.
    """

    name: str
    shape: tuple[int, ...]
    axis: int
    share: float


class Head(nn.Module):
    """[N, ...] with channels on `axis` -> logits [N, classes].

    Of a map a 3x3 convolution of stride 2, then the mean over places; of a sequence, mean and maximum over places and a
    hidden layer. A few percent of what the network does.
    """

    def __init__(self, place: Place, classes: int) -> None:
        super().__init__()
        channels = place.shape[place.axis - 1]
        self.axis, self.map = place.axis, len(place.shape) == 3
        if self.map:
            self.body = nn.Sequential(
                nn.Conv2d(channels, channels, 3, 2, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
            )
        else:
            self.body = nn.Sequential(nn.Linear(2 * channels, 2 * channels), nn.ReLU())
        self.answer = nn.Linear(channels if self.map else 2 * channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.map:
            made: torch.Tensor = self.answer(self.body(x.movedim(self.axis, 1)).mean((2, 3)))
            return made
        x = x.movedim(self.axis, -1)
        x = x.reshape(x.shape[0], -1, x.shape[-1])
        both: torch.Tensor = self.answer(self.body(torch.cat([x.mean(1), x.amax(1)], 1)))
        return both

    def cool(self, temperature: float) -> None:
        """Answer with logits divided by that (Guo et al. 2017, arXiv:1706.04599)."""
        with torch.no_grad():
            self.answer.weight.div_(temperature)
            self.answer.bias.div_(temperature)


def places(model: TorchModel, feed: Mapping[str, np.ndarray], only: str = "") -> tuple[list[Place], dict[str, str]]:
    """Blocks (where there are none: layers) behind which a head can stand, at even depths; why others cannot have one.

    Args:
        feed: of SAMPLES samples, or a whole call where the batch is fixed.
        only: this block, whatever its depth.
    """
    module = copy.deepcopy(model.module).eval()
    samples = len(next(iter(feed.values())))
    counter = FlopCounterMode(display=False)
    ran: dict[str, int] = {}
    found: list[tuple[str, int, tuple[int, ...]]] = []
    untouched: dict[str, str] = {}

    def hook(name: str) -> "Callable[..., None]":
        def behind(layer: nn.Module, given: Any, made: Any) -> None:
            ran[name] = ran.get(name, 0) + 1
            if not isinstance(made, torch.Tensor) or not made.is_floating_point():
                untouched[name] = "it gives something else than one tensor of floats"
            elif made.ndim not in (2, 3, 4) or made.shape[0] != samples:
                untouched[name] = f"what it gives, {list(made.shape)}, is no map, sequence or row of each sample"
            else:
                found.append((name, int(counter.get_total_flops()), tuple(made.shape)))

        return behind

    for name, layer in module.named_modules():
        if name:
            layer.register_forward_hook(hook(name))
    with counter:
        call(module, feed)
    whole = max(1, int(counter.get_total_flops()))
    untouched |= {name: "it runs several times" for name, times in ran.items() if times > 1}
    able = [
        Place(name, shape[1:], _axis(module.get_submodule(name), len(shape)), flops / whole)
        for name, flops, shape in found
        if name not in untouched
    ]
    if only:
        return [p for p in able if p.name == only], untouched
    inner = [p for p in able if EARLIEST <= p.share <= LATEST]
    blocks = [p for p in inner if _is_block(module.get_submodule(p.name))]
    last = {p.share: p for p in blocks or inner}  # of several behind the same work the last that ends
    return _spread(list(last.values())), untouched


def _is_block(layer: nn.Module) -> bool:
    return any(layer.children()) and any(p.ndim > 1 for p in layer.parameters())


def _axis(block: nn.Module, rank: int) -> int:
    """Of the channels: by the last layer in the block that has some."""
    if rank == 2:
        return 1
    known = [x for x in block.modules() if isinstance(x, (*BY_CHANNEL, nn.Linear, nn.LayerNorm))]
    if known:
        return 1 if isinstance(known[-1], BY_CHANNEL) else rank - 1
    return 1 if rank == 4 else rank - 1


def _spread(able: Sequence[Place]) -> list[Place]:
    """A few of them, nearest to even depths."""
    if len(able) <= PLACES:
        return list(able)
    goals = np.linspace(able[0].share, able[-1].share, PLACES)
    return [able[i] for i in sorted({int(np.argmin([abs(p.share - g) for p in able])) for g in goals})]


class Reached(Exception):  # noqa: N818 - no error
    """All that is wanted has run."""


@contextmanager
def seen(net: nn.Module, names: Sequence[str], *, stop: bool) -> Iterator[dict[str, torch.Tensor]]:
    """What these blocks give while it lasts; with `stop` Reached ends the run behind the last of them."""
    given: dict[str, torch.Tensor] = {}

    def keep(name: str) -> "Callable[..., None]":
        def hook(layer: nn.Module, _: Any, made: torch.Tensor) -> None:
            given[name] = made
            if stop and len(given) == len(names):
                raise Reached

        return hook

    hooks = [net.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    try:
        yield given
    finally:
        for handle in hooks:
            handle.remove()


class Heads(nn.Module):
    """All heads on one network that stays as it is: [N, heads, classes]. The last of the inputs is not looked at."""

    def __init__(self, net: nn.Module, heads: Mapping[str, Head]) -> None:
        super().__init__()
        self.net, self.names = copy.deepcopy(net), tuple(heads)
        self.heads = nn.ModuleList(heads.values())
        for parameter in self.net.parameters():
            parameter.requires_grad_(False)

    def train(self, mode: bool = True) -> "Heads":
        super().train(mode)
        self.net.eval()
        return self

    def forward(self, *feed: torch.Tensor) -> torch.Tensor:
        with torch.no_grad(), seen(self.net, self.names, stop=True) as given, suppress(Reached):
            self.net(*feed[:-1])
        return torch.stack([head(given[name]) for name, head in zip(self.names, self.heads, strict=True)], 1)


class Told(nn.Module):
    """A teacher whose answers are known: for each head the last of the inputs."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, *feed: torch.Tensor) -> torch.Tensor:
        return feed[-1][:, None].expand(-1, self.heads, -1)


def trained(model: TorchModel, task: Task, found: Sequence[Place], how: Heal) -> list[Head]:
    """A head for each place: they learn together, the network stands still."""
    output = model.signature.outputs[0]
    classes = cast(int, output.shape[-1])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(how.seed)
        heads = {place.name: Head(place, classes) for place in found}
    inputs = (*model.signature.inputs, Tensor(WANTED, output.dtype, output.shape))
    signature = Signature(inputs, (Tensor("output", output.dtype, (output.shape[0], len(found), classes)),))
    both = TorchModel(Heads(model.module, heads).eval(), signature)
    made = how.train(both, _task(model, task, len(found))).module
    assert isinstance(made, Heads)
    return [cast(Head, head) for head in made.heads]


def _task(model: TorchModel, task: Task, heads: int) -> Task:
    """The same task for heads that answer beside each other; the original's answers come with its data."""
    original, given = task.original, task.origin or task  # whose data the original sees as it did when it was trained
    assert isinstance(original, TorchModel)

    output, labelled = original.signature.outputs[0], task.measure.labels
    blank = np.zeros((1, *cast("tuple[int, ...]", output.shape[1:])), output.dtype)

    def told(part: Literal["train", "validate"]) -> Data:
        data = task.split(part)
        if part == "validate" and labelled:  # nobody will ask
            wanted = np.repeat(blank, len(data), 0)
        else:
            wanted = np.asarray(next(iter(taught(original, given.split(part)).values())))
        labels = None if data.target is None else np.repeat(data.target[:, None], heads, 1)
        return Data({**data.inputs, WANTED: wanted}, labels)

    def loss(outputs: Mapping[str, torch.Tensor], target: torch.Tensor) -> torch.Tensor:
        assert task.loss is not None
        name, scores = next(iter(outputs.items()))
        return torch.stack([task.loss({name: scores[:, k]}, target[:, k]) for k in range(heads)]).mean()

    metric = "top1" if labelled else "agreement"
    train, validate = told("train"), told("validate")
    return Task(task.name, lambda: Told(heads), metric, train=train, validate=validate, loss=task.loss and loss)


def temperature(logits: np.ndarray, wanted: np.ndarray) -> float:
    """By which logits [N, classes] are divided so that their softmax is as often right as it says.

    Args:
        wanted: the right classes, int [N].
    """
    tried = np.geomspace(COLDEST, HOTTEST, STEPS)
    return float(min(tried, key=lambda t: _surprise(logits / t, wanted)))


def _surprise(logits: np.ndarray, wanted: np.ndarray) -> float:
    """The mean negative log-likelihood."""
    shifted = logits - logits.max(1, keepdims=True)
    return float((np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(wanted)), wanted]).mean())


def answers(model: TorchModel, heads: Sequence[Head], found: Sequence[Place], data: Data) -> list[np.ndarray]:
    """What each head answers to all of the data, [N, classes]."""
    output = model.signature.outputs[0]
    both = Heads(model.module, {p.name: h for p, h in zip(found, heads, strict=True)}).eval()
    inputs = (*model.signature.inputs, Tensor(WANTED, output.dtype, output.shape))
    made = replace(model, module=both, signature=Signature(inputs, (replace(output, name="output"),)))
    blank = np.zeros((len(data), *cast("tuple[int, ...]", output.shape[1:])), output.dtype)
    together = answers_of(made, Data({**data.inputs, WANTED: blank}))["output"]
    return [together[:, k].astype(np.float64) for k in range(len(heads))]


class Choice(nn.Module):
    """The network with one exit: the head's answer where it is sure, else its own."""

    def __init__(self, net: nn.Module, name: str, head: Head, threshold: float) -> None:
        super().__init__()
        self.net, self.exit = copy.deepcopy(net), head
        self._name, self._threshold = name, threshold

    def forward(self, *feed: torch.Tensor) -> dict[str, torch.Tensor]:
        with seen(self.net, [self._name], stop=False) as given:
            ((name, whole),) = named(self.net(*feed)).items()
        quick = self.exit(given[self._name])
        sure = torch.softmax(quick, 1).amax(1, keepdim=True) >= self._threshold
        return {name: torch.where(sure, quick, whole)}
