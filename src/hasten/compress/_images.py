"""Images and clips among the inputs: their axes, and a network that takes them grey."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from hasten.errors import InputError
from hasten.model import Arrays, Signature, Tensor
from hasten.prepare import Prepare

if TYPE_CHECKING:
    import torch

COLOURS = (1, 3)  # channels that a prepared image can have


@dataclass(frozen=True)
class Axes:
    """Where an image [N, C, H, W] or [N, H, W, C], or a clip with its frames behind N, has what."""

    channels: int
    height: int
    width: int
    frames: int | None

    @classmethod
    def of(cls, tensor: Tensor) -> Self | None:
        """None where the tensor is no image: it has other axes, or free ones, or other channels."""
        clip = len(tensor.shape) == 5
        own = tensor.shape[1:]
        if len(tensor.shape) not in (4, 5) or not all(isinstance(n, int) for n in own):
            return None
        first = 2 if clip else 1
        frames = 1 if clip else None
        if tensor.shape[first] in COLOURS:
            return cls(first, first + 1, first + 2, frames)
        return cls(first + 2, first, first + 1, frames) if tensor.shape[-1] in COLOURS else None


def images(signature: Signature) -> dict[str, tuple[Tensor, Axes]]:
    """The inputs that can be images, by name."""
    return {t.name: (t, axes) for t in signature.inputs if (axes := Axes.of(t))}


def length(tensor: Tensor, axis: int) -> int:
    n = tensor.shape[axis]
    assert isinstance(n, int)
    return n


def with_lengths(tensor: Tensor, lengths: Mapping[int, int]) -> Tensor:
    """With other lengths of some axes."""
    return replace(tensor, shape=tuple(lengths.get(i, n) for i, n in enumerate(tensor.shape)))


def greyed(how: Prepare) -> Prepare:
    """The same image with one channel; its mean and deviation are the means of the three."""
    return replace(how, colour="grey", mean=(float(np.mean(how.mean)),), std=(float(np.mean(how.std)),))


def reader(module: "torch.nn.Module", feed: Arrays, name: str) -> str | None:
    """The only convolution that the input `name` goes into, as it is; None where it goes elsewhere, or nowhere."""
    import torch

    tensors = {k: torch.from_numpy(np.array(v)) for k, v in feed.items()}
    heard: list[str] = []

    def hook(layer: str) -> Any:
        def note(_: Any, given: tuple[Any, ...]) -> None:
            if any(g is tensors[name] for g in given):
                heard.append(layer)

        return note

    seen = copy.deepcopy(module).eval()
    handles = [m.register_forward_pre_hook(hook(n)) for n, m in seen.named_modules() if not any(m.children())]
    with torch.inference_mode():
        seen(*tensors.values())
    for handle in handles:
        handle.remove()
    return heard[0] if len(heard) == 1 and isinstance(seen.get_submodule(heard[0]), torch.nn.Conv2d) else None


def with_one_channel(module: "torch.nn.Module", layer: str) -> "torch.nn.Module":
    """A copy in which the convolution `layer` hears one channel, with a bias and weights that are zero.

    Raises:
        InputError: there is no such convolution of three channels.
    """
    import torch

    made = copy.deepcopy(module)
    try:
        old = made.get_submodule(layer)
    except AttributeError:
        old = None
    if not isinstance(old, torch.nn.Conv2d) or old.in_channels != 3 or old.groups != 1:
        raise InputError(f"the network has no convolution {layer!r} of three channels", "build the network that it was")
    old.in_channels = 1
    old.weight = torch.nn.Parameter(torch.zeros_like(old.weight[:, :1]))
    old.bias = torch.nn.Parameter(torch.zeros(old.out_channels, dtype=old.weight.dtype))
    return made


def folded(module: "torch.nn.Module", layer: str, colour: Prepare, grey: Prepare) -> "torch.nn.Module":
    """The network that answers to grey images as `module` does to the same images in three equal channels.

    At the edges, where the layer fills up with zeros, that holds as far as zero is the same grey in each channel.
    """
    import torch

    made = with_one_channel(module, layer)
    old, new = module.get_submodule(layer), made.get_submodule(layer)
    assert isinstance(old, torch.nn.Conv2d)
    assert isinstance(new, torch.nn.Conv2d)
    assert new.bias is not None
    mean, std = (torch.tensor(np.resize(v, 3), dtype=old.weight.dtype) for v in (colour.mean, colour.std))
    scale, shift = grey.std[0] / std, (grey.mean[0] - mean) / std
    with torch.no_grad():
        new.weight.copy_((old.weight * scale[:, None, None]).sum(1, keepdim=True))
        new.bias.copy_((old.weight.sum((2, 3)) * shift).sum(1) + (old.bias if old.bias is not None else 0.0))
    return made


def share(lengths: Sequence[int], part: float) -> list[int]:
    """Lengths, whole and at least 1, that are this part of others."""
    return [max(1, int(n * part + 0.5)) for n in lengths]
