"""A recipe: techniques in order, printed and parsed as one line, `distil(student=small) > quantize(int8)`."""

import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self, get_args, get_origin, get_type_hints

from hasten.errors import UsageError, unknown
from hasten.find import technique
from hasten.model import Model, OnnxModel, TorchModel
from hasten.technique import Technique

if TYPE_CHECKING:
    from hasten.task import Task

_STEP = re.compile(r"\s*([A-Za-z_]\w*)\s*(?:\(((?:[^()]|\([^()]*\))*)\))?\s*")


@dataclass(frozen=True)
class Recipe:
    """An ordered list of techniques. `Recipe.parse(str(r)) == r`."""

    steps: tuple[Technique, ...] = ()

    def __str__(self) -> str:
        return " > ".join(map(str, self.steps)) or "as it is"

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        Args:
            text: `name > name(setting, key=setting)`; a setting without a key fills the first field, and so on.

        Raises:
            UsageError: an unknown technique or setting, a value that does not fit, or an order that cannot work.
        """
        if text.strip() == str(cls()):
            return cls()
        recipe = cls(tuple(_step(part, text) for part in re.split(r">(?![^()]*\))", text)))
        kinds = [s.takes for s in recipe.steps]
        if kinds != sorted(kinds, key=("torch", "onnx").index):
            wrong = next(s for i, s in enumerate(recipe.steps) if s.takes == "torch" and "onnx" in kinds[:i])
            raise UsageError(f"{wrong} works on the torch model, but stands after the export", "put it before the graph passes")
        return recipe

    def __call__(self, model: Model, task: "Task") -> OnnxModel:
        """Apply every step; `export` is put in where the kind changes, and at the end of a torch recipe."""
        from hasten.export import export

        for step in self.steps:
            if step.takes == "onnx" and isinstance(model, TorchModel):
                model = export(model, task.sample()).model
            model = step(model, task)
        return export(model, task.sample()).model if isinstance(model, TorchModel) else model


def _step(text: str, line: str) -> Technique:
    match = _STEP.fullmatch(text)
    if not match:
        raise UsageError(f"{text.strip()!r} in the recipe {line!r} is not a technique", "write name or name(key=value, ...)")
    kind = technique(match[1])
    hints, names = get_type_hints(kind), [f.name for f in fields(kind)]
    settings: dict[str, Any] = {}
    for place, part in enumerate(p for p in re.split(r",(?![^()]*\))", match[2] or "") if p.strip()):
        key, equals, value = part.partition("=")
        if not equals:
            if place >= len(names):
                raise UsageError(f"{match[1]} has {len(names)} settings", f"they are: {', '.join(names)}")
            key, value = names[place], key
        if key.strip() not in names:
            raise unknown(f"setting of {match[1]}", key.strip(), names)
        settings[key.strip()] = _value(value.strip(), hints[key.strip()], f"{match[1]}({part.strip()})")
    return kind(**settings)


def _value(text: str, hint: Any, where: str) -> Any:
    """`text` as the type of its field: bool, int, float, str, Literal, None, or a tuple of these in round brackets."""
    choices = get_args(hint)
    if get_origin(hint) is tuple:
        return tuple(_value(t, choices[0], where) for t in text.strip("()").split())
    if choices and all(isinstance(c, str) for c in choices):
        if text not in choices:
            raise unknown(f"choice for {where.split('(')[0]}", text, choices)
        return text
    for kind in choices or (hint,):
        if kind is type(None) and text == "None":
            return None
        if kind is bool and text in ("True", "False", "true", "false"):
            return text.lower() == "true"
        if kind in (int, float, str):
            try:
                return kind(text.strip("'\""))
            except ValueError:
                continue
    raise UsageError(f"{where}: {text!r} does not fit", f"the setting is {getattr(hint, '__name__', hint)}")
