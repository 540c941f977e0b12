"""What a finding proposes, done: another engine, lengths that are fixed, a recipe, several samples a call."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import onnx

from hasten.engine import Engine
from hasten.errors import InputError, UsageError
from hasten.model import OnnxModel

if TYPE_CHECKING:
    from hasten.task import Task


def applied(
    apply: Mapping[str, Any], model: OnnxModel, engine: Engine, task: "Task | None" = None
) -> tuple[OnnxModel, Engine]:
    """The file and the engine that a remedy gives.

    Args:
        apply: of a finding: `engine`, as it prints; `fix`, lengths by name; or `recipe`, on this file or the original.
            `batch` changes neither: it is for who calls.
        task: whose original a recipe starts from, and whose data it needs.

    Raises:
        InputError: a recipe without a task.
    """
    if "engine" in apply:
        return model, parsed(str(apply["engine"]))
    if "fix" in apply:
        return fixed(model, apply["fix"]), engine
    if "recipe" in apply:
        from hasten.recipe import Recipe

        if task is None:
            raise InputError(f"{apply['recipe']} needs the original and data", "give a task")
        start = task.original if apply["on"] == "original" else model
        made = Recipe.parse(apply["recipe"])(start, task)
        assert isinstance(made, OnnxModel)
        return made, engine
    return model, engine


def parsed(text: str) -> Engine:
    """The engine that prints like this: `openvino(hint=bf16, threads=2)`.

    Raises:
        UsageError: there is no such engine or setting.
    """
    from hasten import find

    name, _, rest = text.removesuffix(")").partition("(")
    kind = find.engine(name)
    fields = {f: kind.__dataclass_fields__[f].default for f in kind.__dataclass_fields__}
    settings: dict[str, Any] = {}
    for part in filter(None, rest.split(", ")):
        key, _, value = part.partition("=")
        if key not in fields:
            raise UsageError(f"the engine {name} has no setting {key!r}", f"it has {', '.join(fields)}")
        usual = fields[key]
        settings[key] = value == "True" if isinstance(usual, bool) else int(value) if isinstance(usual, int) else value
    return kind(**settings)


def fixed(model: OnnxModel, axes: Mapping[str, int]) -> OnnxModel:
    """A copy whose free axes of these names have these lengths, wherever they stand; inner shapes are told anew."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    del proto.graph.value_info[:]
    for value in (*proto.graph.input, *proto.graph.output):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param in axes:
                axis.dim_value = axes[axis.dim_param]
    return OnnxModel(proto)
