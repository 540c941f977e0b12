"""recipe: one line in, the same line out, and a sentence for each mistake; find: files are the registration."""

import dataclasses
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import ClassVar, Literal

import pytest

from hasten import find
from hasten.errors import ContractError, UsageError
from hasten.graph.half import Half
from hasten.graph.quantize import Quantize
from hasten.graph.simplify import Simplify
from hasten.model import Model
from hasten.recipe import Recipe
from hasten.task import Task
from hasten.technique import Technique


@dataclasses.dataclass(frozen=True)
class Odd(Technique):
    """Has a setting of every kind."""

    student: str
    share: float = 0.5
    steps: int | None = None
    bits: Literal[4, 8] = 8
    sizes: tuple[int, ...] = (1,)
    name: str | None = None
    way: Literal["up", "down"] | None = None
    on: bool = True
    takes: ClassVar[Literal["torch", "onnx"]] = "torch"

    def apply(self, model: Model, task: Task) -> Model:
        return model


Odd.__module__ = "hasten.compress.odd"  # a recipe prints the name of the file


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> None:
    known = find.techniques() | {"odd": Odd}
    monkeypatch.setattr(find, "techniques", lambda: known)


def test_it_reads_names_settings_and_places() -> None:
    assert Recipe.parse("simplify > quantize(int8, onnxruntime, ops=(Conv MatMul)) > half(1000)") == Recipe(
        (Simplify(), Quantize("int8", "onnxruntime", ("Conv", "MatMul")), Half(1000))
    )
    assert str(Recipe((Quantize(method="dynamic"), Half()))) == "quantize(method=dynamic) > half"
    assert Recipe.parse(" half() ") == Recipe((Half(),))


def test_nothing_is_a_recipe_too() -> None:
    assert str(Recipe()) == "as it is"
    assert Recipe.parse("as it is") == Recipe()


@pytest.mark.usefixtures("odd")
@pytest.mark.parametrize(
    "step",
    [
        Odd("small"),
        Odd("a", steps=3, bits=4),
        Odd("a", sizes=(2, -3, 5)),
        Odd("a", sizes=()),
        Odd("a", name="b"),
        Odd("a", way="down", on=False),
        Odd("a", share=1e-7),
    ],
    ids=str,
)
def test_every_kind_of_setting_survives_printing(step: Odd) -> None:
    assert Recipe.parse(f"{step} > half").steps == (step, Half())


@pytest.mark.usefixtures("odd")
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("quantise", "no technique is called 'quantise'; did you mean 'quantize'"),
        ("half(min_element=3)", "no setting of half is called 'min_element'; did you mean 'min_elements'"),
        ("half(min_elements=few)", r"half\(min_elements=few\) does not fit; the setting is int"),
        ("half(1.5)", r"half\(min_elements=1.5\) does not fit"),
        ("half(1, 2)", "'2' has no name; the settings are: min_elements"),
        ("quantize(method=dynamic, int8)", "'int8' has no name"),
        ("half(1, min_elements=2)", "gives min_elements twice"),
        ("quantize(method=nnfc)", "no choice for quantize.method is called 'nnfc'; did you mean 'nncf'"),
        ("quantize(symmetric=perhaps)", "does not fit; the setting is bool"),
        ("odd", r"odd needs student; write odd\(student=...\)"),
        ("odd(a, bits=5)", "no choice for odd.bits is called '5'"),
        ("odd(a, sizes=(1 x))", "does not fit"),
        ("odd(a, way=sideways)", "no choice for odd.way"),
        ("odd(a, steps=many)", "does not fit"),
        (
            "half > odd(a)",
            r"odd\(student=a\) works on the torch model, but stands after half, which leaves",
        ),
        ("half(", "is not a technique; write name or name"),
        ("", "is not a technique"),
        ("half > ", "is not a technique"),
        ("half half", "is not a technique"),
    ],
)
def test_a_mistake_is_one_sentence(line: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Recipe.parse(line)


def test_a_file_may_take_several_lines(tmp_path: Path) -> None:
    path = tmp_path / "small.recipe"
    path.write_text("# for the stream\nprune(0.5, epochs=8)  # half of the channels\n  > quantize(\n  method=placed)\n")
    assert Recipe.read(path) == Recipe.parse("prune(0.5, epochs=8) > quantize(method=placed)")
    with pytest.raises(UsageError, match="cannot be read"):
        Recipe.read(tmp_path)


def test_milder_is_the_last_step_at_its_next_settings() -> None:
    recipe, seen = Recipe.parse("prune(0.5) > quantize(method=placed)"), []
    while recipe := recipe.milder:
        seen.append(str(recipe.steps[-1]))
        assert str(recipe.steps[0]) == "prune"
    assert seen == [f"quantize(method=placed, spare={share})" for share in (0.1, 0.25, 0.5)]
    assert Recipe.parse("simplify").milder is None
    assert Recipe().milder is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("prune(0.5) > distil", "distil draws weights anew, so that what prune did is lost; put it first"),
        ("quantize > prune", "prune works on the torch model, but stands after quantize, which leaves an ONNX graph"),
    ],
)
def test_an_order_that_cannot_work_is_refused_with_the_reason(line: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Recipe.parse(line)


def test_applying_exports_where_the_kind_changes(tiny_task: Task) -> None:
    made = Recipe.parse("simplify > half(8)")(tiny_task.original, tiny_task)
    assert made.history == ("simplify", "half(min_elements=8)")
    assert Recipe()(tiny_task.original, tiny_task).history == ()


def test_techniques_and_engines_are_the_files_in_their_folders() -> None:
    assert {"simplify": Simplify, "quantize": Quantize, "half": Half}.items() <= find.techniques().items()
    assert {"torch", "onnxruntime", "openvino"} <= find.engines().keys()
    assert not any(name.startswith("_") for name in (*find.techniques(), *find.engines()))
    with pytest.raises(UsageError, match="did you mean 'openvino'"):
        find.engine("opnvino")


class Entry:
    """As another package would declare it."""

    def __init__(self, name: str, loaded: type) -> None:
        self.name, self._loaded = name, loaded

    def load(self) -> type:
        return self._loaded


def _declare(monkeypatch: pytest.MonkeyPatch, entry: "Entry | EntryPoint") -> None:
    find.techniques.cache_clear()
    monkeypatch.setattr(find, "entry_points", lambda group: [entry])


@pytest.fixture
def _fresh():
    yield
    find.techniques.cache_clear()


@pytest.mark.usefixtures("_fresh")
def test_another_package_adds_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    _declare(monkeypatch, Entry("odd", Odd))
    assert find.technique("odd") is Odd


@pytest.mark.usefixtures("_fresh")
@pytest.mark.parametrize(
    ("name", "loaded", "said"),
    [
        ("half", Half, "another package adds 'half'"),
        ("even", Odd, "the entry point 'even' names hasten.compress.odd.Odd"),
    ],
)
def test_a_name_stands_for_one_thing(name: str, loaded: type, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _declare(monkeypatch, Entry(name, loaded))
    with pytest.raises(ContractError, match=said):
        find.techniques()
