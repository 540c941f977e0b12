"""A recipe: techniques in order, printed and parsed as one line, `distil(student=small) > quantize(int8)`."""

import contextlib
import re
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Self, Union, get_args, get_origin, get_type_hints

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
        exported: Technique | None = None  # the first step behind which there is a graph
        for step in recipe.steps:
            if exported and step.takes == "torch":
                raise UsageError(
                    f"{step} works on the torch model, but stands after {exported}, which leaves an ONNX graph",
                    f"put it before {exported}",
                )
            if step.forgets and step is not recipe.steps[0]:
                raise UsageError(
                    f"{step} draws weights anew, so that what {recipe.steps[0]} did is lost", "put it first"
                )
            exported = exported or (step if "onnx" in (step.takes, step.gives) else None)
        return recipe

    @property
    def milder(self) -> Self | None:
        """With the last step at its next milder settings; None where there are none."""
        last = self.steps[-1].milder if self.steps else None
        return type(self)((*self.steps[:-1], last)) if last else None

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """A recipe in a file, over as many lines as it likes; what stands behind # is a remark.

        Raises:
            UsageError: it cannot be read, or as parse.
        """
        try:
            lines = Path(path).read_text().splitlines()
        except (OSError, UnicodeDecodeError) as fault:
            raise UsageError(f"the recipe {path} cannot be read ({fault})", "give a text file") from fault
        return cls.parse(" ".join(line.partition("#")[0].strip() for line in lines))

    def __call__(self, model: Model, task: "Task") -> OnnxModel:
        """Apply every step; `export` is put in where the kind changes, and at the end of a torch recipe."""
        from hasten.export import export

        for step in self.steps:
            if step.takes == "onnx" and isinstance(model, TorchModel):
                model = export(model, task.seen_by(model).sample()).model
            model = step(model, task)
        return export(model, task.seen_by(model).sample()).model if isinstance(model, TorchModel) else model


def _step(text: str, line: str) -> Technique:
    match = _STEP.fullmatch(text)
    if not match:
        raise UsageError(
            f"{text.strip()!r} in the recipe {line!r} is not a technique", "write name or name(key=value, ...)"
        )
    name, inside = match[1], match[2] or ""
    kind = technique(name)
    hints, names = get_type_hints(kind), [f.name for f in fields(kind)]
    settings: dict[str, Any] = {}
    for part in (p for p in re.split(r",(?![^()]*\))", inside) if p.strip()):
        key, equals, value = (p.strip() for p in part.partition("="))
        if not equals:
            if list(settings) != names[: len(settings)] or len(settings) == len(names):
                raise UsageError(f"{name}({inside}): {key!r} has no name", f"the settings are: {', '.join(names)}")
            key, value = names[len(settings)], key
        if key not in names:
            raise unknown(f"setting of {name}", key, names)
        if key in settings:
            raise UsageError(f"{name}({inside}) gives {key} twice", "say it once")
        settings[key] = _value(value, hints[key], f"{name}({key}={value})")
    required = (f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING)
    if left_out := [n for n in required if n not in settings]:
        raise UsageError(f"{name} needs {' and '.join(left_out)}", f"write {name}({left_out[0]}=...)")
    return kind(**settings)


def _value(text: str, hint: Any, where: str) -> Any:
    """`text` as the type of its field: bool, int, float, str, None, a Literal, a tuple of these in round brackets."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        for choice in inner:
            if str(choice) == text:
                return choice
        raise unknown(f"choice for {where.partition('=')[0].replace('(', '.')}", text, map(str, inner))
    if origin is tuple:
        return tuple(_value(t, inner[0], where) for t in text.removeprefix("(").removesuffix(")").split())
    if origin in (Union, UnionType):
        return _any_of(text, inner, where)
    if hint is type(None) and text == "None":
        return None
    if hint is bool and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if hint is str:
        return text.strip("'\"")
    if hint in (int, float):
        with contextlib.suppress(ValueError):
            return hint(text)
    raise UsageError(f"{where} does not fit", f"the setting is {getattr(hint, '__name__', hint)}")


def _any_of(text: str, hints: tuple[Any, ...], where: str) -> Any:
    """The first that fits; None goes before text."""
    fault: UsageError | None = None
    for hint in sorted(hints, key=lambda h: h is not type(None)):
        try:
            return _value(text, hint, where)
        except UsageError as raised:
            fault = raised
    raise fault or UsageError(f"{where} does not fit")
