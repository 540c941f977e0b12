"""The members of an ensemble: bundles of one task, seen to take the same raw input and to give the same answer."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hasten.bundle import Bundle
from hasten.errors import InputError, NotApplicable
from hasten.manifest import read
from hasten.model import OnnxModel, Tensor
from hasten.offline.ensemble.merged import prefixed
from hasten.stage import Stage

FLOATS = ("float32", "float64")  # what is averaged


@dataclass(frozen=True, eq=False)
class Member:
    """A bundle, its seal, and what its tensors are called among those of others."""

    bundle: Bundle
    seal: str
    prefix: str

    @property
    def name(self) -> str:
        """Its folder; never a word alone, which is the name of a form."""
        folder = self.bundle.folder
        return f"./{folder}" if len(folder.parts) == 1 else str(folder)

    @property
    def model(self) -> OnnxModel:
        """Its one network.

        Raises:
            NotApplicable: it has several stages.
        """
        (stage, *others) = self.bundle.stages
        if others or stage.when != "always":
            raise NotApplicable(f"{self.name} has {len(others) + 1} stages", "keep a stage for each")
        return OnnxModel.load(stage.file)

    def told(self, weight: float) -> dict[str, Any]:
        """Who it is, for the bundle's account of itself."""
        return {"bundle": self.name, "seal": self.seal, "recipe": self.bundle.recipe, "weight": weight}

    def stages(self, folder: Path) -> list[Stage]:
        """Its stages, whose files are put into `folder`, with names that are theirs alone."""
        given = [t.name for t in self.bundle.signature.inputs]

        def new(tensor: Tensor) -> Tensor:
            return tensor if tensor.name in given else replace(tensor, name=self.prefix + tensor.name)

        made = []
        for stage in self.bundle.stages:
            name = f"{self.prefix.rstrip('.')}-{stage.name}"
            model = prefixed(OnnxModel.load(stage.file), self.prefix, given).save(folder / f"{name}.onnx")
            sides = ([new(t) for t in side] for side in (stage.signature.inputs, stage.signature.outputs))
            unless = stage.unless and replace(stage.unless, output=self.prefix + stage.unless.output)
            signature = type(stage.signature)(*map(tuple, sides))
            made.append(Stage(name, model.path or folder, stage.engine.in_turns(), signature, stage.when, unless))
        return made


@contextmanager
def opened(bundles: Sequence[str | Path]) -> Iterator[list[Member]]:
    """The members, verified and alike; they are closed in the end.

    Raises:
        InputError: fewer than two, one that is there twice, or two that take or give something else; says what.
        MissingError, Unmet: as Bundle.load.
    """
    if len(bundles) < 2:
        raise InputError(f"an ensemble of {len(bundles)}", "name two bundles or more")
    with ExitStack() as stack:
        members = []
        for place, folder in enumerate(bundles):
            bundle = stack.enter_context(Bundle.load(folder))
            members.append(Member(bundle, str(read(Path(folder))["seal"]), f"m{place}."))
        for later, one in enumerate(members):
            for other in members[:later]:
                _alike(other, one)
        yield members


def _alike(one: Member, other: Member) -> None:
    """
    Raises:
        InputError: what one takes or gives is not what the other does.
    """
    mend = "make them of one task, with one pipeline"
    if one.seal == other.seal:
        raise InputError(f"{one.name} and {other.name} are the same bundle", "name each once")
    theirs = (one.bundle, other.bundle)
    said = [_pipeline(b) for b in theirs]
    for name in sorted({*said[0], *said[1]}):
        first, second = (each.get(name) for each in said)
        if first != second:
            told = f"{one.name} has {_of(first, second)} and {other.name} {_of(second, first)}"
            raise InputError(f"the pipelines differ in {name}: {told}", mend)
    for side in ("inputs", "outputs"):
        a, b = ({t.name: t for t in getattr(bundle.signature, side)} for bundle in theirs)
        if list(a) != list(b) or any(_form(a[name]) != _form(b[name]) for name in a):
            names = " and ".join(", ".join(map(str, tensors.values())) for tensors in (a, b))
            raise InputError(f"the {side} of {one.name} and {other.name} are {names}", mend)
    if strange := next((t for t in one.bundle.signature.outputs if t.dtype not in FLOATS), None):
        raise InputError(f"the output {strange} of {one.name} cannot be averaged", "let networks answer in floats")
    if one.bundle.pipeline.answer.kind == "boxes":
        raise InputError("boxes of several networks cannot be averaged", "no two of them find the same boxes")


def _form(tensor: Tensor) -> tuple[object, ...]:
    """Its dtype and shape; of a bundle the first axis is as long as one likes."""
    return (tensor.dtype, len(tensor.shape), *(n if isinstance(n, int) else "" for n in tensor.shape[1:]))


def _pipeline(bundle: Bundle) -> dict[str, dict[str, Any] | None]:
    """What happens around the network, part by part."""
    pipeline = bundle.pipeline
    parts: dict[str, Any] = {f"the input {name!r}": how for name, how in pipeline.inputs.items()}
    parts |= {"the window": pipeline.window, "the answer": pipeline.answer}
    return {name: asdict(part) if part else None for name, part in parts.items()}


def _of(mine: dict[str, Any] | None, other: dict[str, Any] | None) -> str:
    """What is not the same in the other; `none` where there is nothing."""
    if mine is None:
        return "none"
    return ", ".join(f"{k}={v}" for k, v in mine.items() if other is None or other[k] != v)
