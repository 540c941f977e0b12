"""What is written is true: paths exist, commands parse, code runs, the command line is as its contract says."""

import doctest
import importlib
import pkgutil
import re
import shlex
import textwrap
from pathlib import Path

import pytest

import hasten
import hasten.compress
import hasten.engines
import hasten.graph
from hasten import errors, find
from hasten.cli._arguments import parse, parser_of, verbs
from hasten.errors import NotApplicable
from hasten.recipe import Recipe
from hasten.task import Task

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def text(name: str) -> str:
    return (ROOT / name).read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_paths_exist(page: Path) -> None:
    prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    named = set(re.findall(r"`(\w+/[\w./-]*)`", prose))
    linked = {link for link in re.findall(r"\]\(([^)#]+)", prose) if "://" not in link}
    assert not [path for path in named if not (ROOT / path).exists()]
    assert not [link for link in linked if not (page.parent / link).exists()]


def test_files_of_the_table_exist() -> None:
    nouns = re.search(r"\| `src/hasten/` \|(.*)", text("README.md"))[1]
    assert not [f for f in re.findall(r"`(\w+\.py)`", nouns) if not (ROOT / "src" / "hasten" / f).exists()]
    folders = {p.parent.name for p in (ROOT / "src" / "hasten").glob("*/__init__.py")}
    assert folders == set(re.findall(r"`src/hasten/(\w+)/`", text("README.md")))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_parse(page: Path) -> None:
    lines = [line.split("#")[0].strip() for block in blocks(page, "bash") for line in block.splitlines()]
    targets = set(re.search(r"^\.PHONY: (.*)", text("Makefile"), re.MULTILINE)[1].split())
    for line in filter(None, lines):
        program, *words = shlex.split(line)
        assert program in ("hasten", "make")
        if program == "hasten":
            parse(words)
        else:
            assert set(words) <= targets


def test_the_readme_has_python_that_imports() -> None:
    found = blocks(ROOT / "README.md", "python")
    assert len(found) == 4
    for block in found:
        compile(block, "README.md", "exec")
        for line in re.findall(r"^from hasten.*", block, re.MULTILINE):
            exec(line, {})


def test_the_readme_can_be_filled_in() -> None:
    assert re.search(r"^<!-- results -->$.*^<!-- /results -->$", text("README.md"), re.DOTALL | re.MULTILINE)


def test_the_contract_has_every_verb_and_option() -> None:
    page = text("docs/cli.md")
    synopsis = textwrap.dedent(blocks(ROOT / "docs" / "cli.md", "")[0])
    said = {
        m[1]: set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", m[0]))
        for m in re.finditer(r"hasten (\w+)(?:.|\n )*", synopsis)
    }
    common = set(re.findall(r"`(--?[a-z]+)", page[page.index("Every verb has") : page.index("`hasten --help`")]))
    assert set(said) == set(verbs()) == set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    for verb in verbs():
        parser = parser_of(importlib.import_module(f"hasten.cli.{verb}"))
        for action in parser._actions:
            names = set(action.option_strings) - {"-h"}
            assert not names or names & (said[verb] | common), f"{verb} has {names}, docs/cli.md does not"
        options = {o for action in parser._actions for o in action.option_strings}
        assert said[verb] | common <= options, f"docs/cli.md gives {verb} {said[verb] - options}"


def test_the_contract_has_every_exit_code() -> None:
    from hasten.cli import BUG, INTERRUPTED

    codes = {k.exit_code for k in vars(errors).values() if isinstance(k, type) and issubclass(k, errors.HastenError)}
    assert {int(c) for c in re.findall(r"^\| (\d+) \|", text("docs/cli.md"), re.MULTILINE)} == codes | {
        0,
        BUG,
        INTERRUPTED,
    }


def test_the_changelog_knows_this_version() -> None:
    assert re.search(rf"^## \[{re.escape(hasten.__version__)}\]", text("CHANGELOG.md"), re.MULTILINE)
    assert f'version = "{hasten.__version__}"' in text("pyproject.toml")


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The files of CONTRIBUTING, each planted in its folder: found because it is there."""
    made = {}
    for block in blocks(ROOT / "CONTRIBUTING.md", "python"):
        path = Path(re.match(r"# src/hasten/(\S+)", block)[1])
        assert not (ROOT / "src" / "hasten" / path).exists()
        (tmp_path / path.parent).mkdir(exist_ok=True)
        (tmp_path / path).write_text(block)
        package = getattr(hasten, path.parent.name)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path / path.parent)])
        made[path.stem] = path
    find.techniques.cache_clear()
    find.engines.cache_clear()
    yield made
    monkeypatch.undo()
    find.techniques.cache_clear()
    find.engines.cache_clear()


def test_what_contributing_shows_works(planted: dict[str, Path], tiny_task: Task) -> None:
    assert set(planted) == {"drop_identity", "round_weights", "reference"}
    assert {"drop_identity", "round_weights"} <= set(find.techniques())
    assert "reference" in find.engines()
    rounded = find.technique("round_weights")(bits=6)(tiny_task.original, tiny_task)
    assert rounded.history == ("round_weights(bits=6)",)
    assert rounded.digest() != tiny_task.original.digest()


def test_the_pass_and_the_engine_of_contributing(
    planted: dict[str, Path], tiny_onnx_task: Task, tmp_path: Path
) -> None:
    import numpy as np
    import onnx

    model = tiny_onnx_task.original
    with pytest.raises(NotApplicable, match="no Identity node"):
        Recipe.parse("drop_identity")(model, tiny_onnx_task)
    idle = onnx.ModelProto()
    idle.CopyFrom(model.proto)
    middle = idle.graph.node[-1]
    middle.input[0], before = "copied", middle.input[0]
    idle.graph.node.insert(len(idle.graph.node) - 1, onnx.helper.make_node("Identity", [before], ["copied"]))
    made = Recipe.parse("drop_identity")(type(model)(idle), tiny_onnx_task).save(tmp_path / "m.onnx")
    assert len(made.proto.graph.node) == len(model.proto.graph.node)
    feed = dict(tiny_onnx_task.split("test").take(slice(0, 4)).inputs)
    with find.engine("reference")().compile(made) as slow, find.engine("onnxruntime")().compile(model) as quick:
        (expected,), (got,) = slow(feed).values(), quick(feed).values()
        np.testing.assert_allclose(got, expected, atol=1e-4 * np.abs(expected).max())


def test_examples_in_docstrings_run() -> None:
    failed = 0
    for entry in pkgutil.walk_packages(hasten.__path__, "hasten."):
        source = importlib.util.find_spec(entry.name).origin
        if source.endswith(".py") and ">>>" in Path(source).read_text():
            failed += doctest.testmod(importlib.import_module(entry.name)).failed
    assert failed == 0
