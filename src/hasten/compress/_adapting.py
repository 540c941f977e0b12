"""What of a network a target lacks: layers by their kind, functional calls by theirs, and what stands for each."""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.overrides import TorchFunctionMode

from hasten.compress import _forms
from hasten.compress._calls import Calls, declined
from hasten.compress._forms import Made
from hasten.engines.torch import call
from hasten.errors import NotApplicable
from hasten.model import Arrays

LAYERS: Mapping[type[nn.Module], str] = {
    nn.SiLU: "silu", nn.Mish: "mish", nn.GELU: "gelu", nn.Hardswish: "hardswish", nn.Hardsigmoid: "hardsigmoid",
    nn.GroupNorm: "group_norm", nn.LayerNorm: "layer_norm", nn.InstanceNorm1d: "instance_norm",
    nn.InstanceNorm2d: "instance_norm", nn.InstanceNorm3d: "instance_norm", nn.AdaptiveAvgPool2d: "adaptive_pool",
    nn.AdaptiveMaxPool2d: "adaptive_pool", nn.Upsample: "resize",
}  # fmt: skip
FUNCTIONS: Mapping[Callable[..., Any], str] = {
    F.silu: "silu", F.mish: "mish", F.gelu: "gelu", F.hardswish: "hardswish", F.hardsigmoid: "hardsigmoid",
    F.group_norm: "group_norm", F.layer_norm: "layer_norm", F.instance_norm: "instance_norm",
    F.adaptive_avg_pool2d: "adaptive_pool", F.adaptive_max_pool2d: "adaptive_pool", F.interpolate: "resize",
    torch.mean: "mean", torch.Tensor.mean: "mean",
}  # fmt: skip
NORMS = ("group_norm", "layer_norm", "instance_norm")
_PLAIN: Mapping[str, Made] = {
    "clipped_swish": ("ClippedSwish", {"scale": 1.0}),
    "clipped_gelu": ("ClippedSwish", {"scale": _forms.STEEPER}),
    "clipped_sigmoid": ("ClippedSigmoid", {}),
}


@dataclass
class Plan:
    """What is to be changed, as JSON keeps it.

    Attributes:
        layers: by name: kind of what stands for it, and its settings.
        calls: by kind of call and what it is given: the same. See `_key`.
        untouched: why other layers and calls stay.
        exact: whether the numbers stay.
    """

    layers: dict[str, Made] = field(default_factory=dict)
    calls: dict[str, Made] = field(default_factory=dict)
    untouched: dict[str, str] = field(default_factory=dict)
    exact: bool = True


@cache
def lacking(target: str) -> Mapping[str, Mapping[str, Any]]:
    """By kind: the form that stands for it, and why; what a target has is not there."""
    table = tomllib.loads(Path(__file__).with_name("adapt.toml").read_text())[target]
    return {kind: row for kind, row in table.items() if kind != "source"}


def planned(module: nn.Module, feed: Arrays, target: str, keep: Sequence[str]) -> Plan:
    """What a target lacks of this network, seen by running it once."""
    plan, table = Plan(), lacking(target)
    shapes, seen = _ran(module, feed)
    for name, layer in module.named_modules():
        kind = LAYERS.get(type(layer))
        if kind is None:
            continue
        if name not in shapes:
            plan.untouched[name] = "forward never calls it"
        elif reason := _spared(kind, target, keep):
            plan.untouched[name] = reason
        elif len(shapes[name]) > 1 and kind in ("adaptive_pool", "resize", *NORMS):
            plan.untouched[name] = "it is given inputs of several shapes"
        else:
            _try(plan, plan.layers, name, name, table[kind], partial(_layer, table, name, layer, shapes))
    for key, (kind, arguments) in seen.items():
        if reason := _spared(kind, target, keep):
            plan.untouched.setdefault(f"{kind} in forward", reason)
        elif kind in NORMS:
            plan.untouched[f"{kind} in forward"] = "it is a call, and a batch norm needs a layer to keep its numbers in"
        else:
            make, smooth = partial(_called, table, kind, arguments), bool(arguments.get("antialias"))
            _try(plan, plan.calls, key, f"{kind} in forward", table[kind], make, smooth)
    return plan


def answers(calls: Mapping[str, Sequence[Any]]) -> Calls:
    """What answers each function of torch, where a plan has something for that call."""
    made = {key: _forms.built(form).eval() for key, form in calls.items()}

    def answer(function: Callable[..., Any], kind: str) -> Callable[..., Any]:
        def answered(x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            form = made.get(_key(kind, _arguments(function, kind, x, args, kwargs)))
            return declined() if form is None else form(x)

        return answered

    return {function: answer(function, kind) for function, kind in FUNCTIONS.items()}


def _spared(kind: str, target: str, keep: Sequence[str]) -> str:
    if kind in keep:
        return f"{kind} is to be kept"
    return "" if kind in lacking(target) else f"{target} has it"


def _try(
    plan: Plan,
    where: dict[str, Made],
    name: str,
    said: str,
    row: Mapping[str, Any],
    make: Callable[[], Made | None],
    smooth: bool = False,
) -> None:
    """`smooth`: it weighs pixels that a window of a pooling takes alike, or leaves out."""
    try:
        made = make()
    except NotApplicable as fault:
        plan.untouched[said] = fault.what
        return
    if made is None:
        plan.untouched[said] = "in this form the target has it"
        return
    where[name] = made
    whole = made[0] == "pool" and all(window == stride for window, stride in made[1]["steps"])
    plan.exact &= (whole and not smooth) or bool(row.get("exact"))


def _layer(table: Mapping[str, Any], name: str, layer: nn.Module, shapes: Mapping[str, set[Any]]) -> Made | None:
    kind, shape = LAYERS[type(layer)], next(iter(shapes[name]))
    form = table[kind]["form"]
    if form in _PLAIN:
        return _plain(form, {len(given) for given in shapes[name]})
    if kind in NORMS:
        return _forms.norm(layer, shape)
    if kind == "adaptive_pool":
        if getattr(layer, "return_indices", False):
            raise NotApplicable("it gives indices")
        way = "max" if isinstance(layer, nn.AdaptiveMaxPool2d) else "avg"
        return _pooled(shape, layer.output_size, way)
    assert isinstance(layer, nn.Upsample)
    how = {"size": layer.size, "scale_factor": layer.scale_factor, "mode": layer.mode}
    return _forms.resize(form, shape[2:], how | {"align_corners": layer.align_corners})


def _called(table: Mapping[str, Any], kind: str, arguments: Mapping[str, Any]) -> Made | None:
    form, shape = table[kind]["form"], arguments.get("shape", ())
    if form in _PLAIN:
        return _plain(form, {arguments["axes"]})
    if kind == "adaptive_pool":
        return _pooled(shape, arguments["size"], arguments["way"])
    if kind == "mean":
        if len(shape) != 4 or arguments["dims"] != [2, 3]:
            raise NotApplicable("it is a mean over other axes than height and width")
        made = _forms.windows(shape[2:], (1, 1), "avg")
        return made if arguments["keepdim"] else ("Mean", {"windows": [w for w, _ in made[1]["steps"]]})
    return _forms.resize(form, shape[2:], arguments)


def _plain(form: str, axes: set[int]) -> Made:
    """An activation, of images or of what is left of them."""
    if not axes <= {2, 4}:
        raise NotApplicable("it is given no images, and the target computes on those alone")
    return _PLAIN[form]


def _pooled(shape: Sequence[int], size: Any, way: str) -> Made:
    wanted = [size, size] if isinstance(size, int) else list(size)
    side = shape[-2:]
    return _forms.windows(side, [s if w is None else w for w, s in zip(wanted, side, strict=True)], way)


def _arguments(
    function: Callable[..., Any], kind: str, x: torch.Tensor, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """What a form depends on: numbers and words alone."""
    if kind in ("adaptive_pool", "mean", "resize"):
        shape = [0, *(int(n) for n in x.shape[1:])]  # of any batch
    if kind == "adaptive_pool":
        size = args[0] if args else kwargs["output_size"]
        way = "max" if function is F.adaptive_max_pool2d else "avg"
        return {"shape": shape, "size": list(size) if isinstance(size, Sequence) else size, "way": way}
    if kind == "mean":
        dims = args[0] if args else kwargs.get("dim")
        listed = [dims] if isinstance(dims, int) else list(dims or ())
        keepdim = args[1] if len(args) > 1 else kwargs.get("keepdim", False)
        return {"shape": shape, "dims": sorted(d % x.ndim for d in listed), "keepdim": bool(keepdim)}
    if kind == "resize":
        names = ("size", "scale_factor", "mode", "align_corners", "recompute_scale_factor", "antialias")
        return {"shape": shape, **dict(zip(names, args, strict=False)), **kwargs}
    return {"axes": x.ndim}


def _key(kind: str, arguments: Mapping[str, Any]) -> str:
    return f"{kind} {' '.join(f'{k}={v}' for k, v in sorted(arguments.items()))}".strip()


class _Calls(TorchFunctionMode):
    """Notes the functional calls of known kinds that are made outside of layers of those kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, tuple[str, dict[str, Any]]] = {}
        self.inside = 0

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kind = FUNCTIONS.get(func)
        if kind is not None and not self.inside:
            arguments = _arguments(func, kind, args[0], args[1:], kwargs or {})
            self.found[_key(kind, arguments)] = (kind, arguments)
        return func(*args, **(kwargs or {}))


def _ran(
    module: nn.Module, feed: Arrays
) -> tuple[dict[str, set[tuple[int, ...]]], dict[str, tuple[str, dict[str, Any]]]]:
    """Shapes that each layer of a known kind is given, and the functional calls."""
    shapes: dict[str, set[tuple[int, ...]]] = {}
    mode = _Calls()

    def enter(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, given: tuple[Any, ...]) -> None:
            mode.inside += 1
            shapes.setdefault(name, set()).add(tuple(given[0].shape))

        return hook

    def leave(layer: nn.Module, given: Any, made: Any) -> None:
        mode.inside -= 1

    layers = [(n, x) for n, x in module.named_modules() if type(x) in LAYERS]
    hooks = [x.register_forward_pre_hook(enter(n)) for n, x in layers]
    hooks += [x.register_forward_hook(leave) for _, x in layers]
    try:
        with mode:
            call(module, feed)
    finally:
        for handle in hooks:
            handle.remove()
    return shapes, mode.found
