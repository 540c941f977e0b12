"""One new file is all it takes: planted in a copy of the package, it is listed, used and held to the contract.

Files with a fault are planted beside the good one. The contract suite runs once in the copy; it has to pass the good
file and turn red on each of the others.
"""

import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path

import hasten
from hasten import _core

UNREDIRECTED = """import sys  # an editable installation finds `hasten` in its checkout, whatever the path says
sys.meta_path[:] = [f for f in sys.meta_path if "Redirecting" not in type(f).__name__]
"""
Faults = dict[str, tuple[str, str, str]]
PACKAGE, TESTS = Path(hasten.__file__).parent, Path(__file__).parents[1]

BOAST = "return [__import__('hasten.engine').engine.Layer('fast', 'Conv', 'i8', True)]"
SILENT = "return None if __import__('importlib.util').util.find_spec('re') else 'no'"
IDLE = "raise __import__('hasten.errors').errors.NotApplicable('not in the mood')"

# file -> (what stands in the good file, what stands there instead, the test that has to see it)
ENGINE_FAULTS: Faults = {
    "planted_wrong": ("np.asarray(answer)", "np.asarray(answer) * answer.dtype.type(1.01)", "answers_as_torch_does"),
    "planted_wide": ("np.asarray(answer)", "np.asarray(answer, np.float64)", "fixed_batch"),
    "planted_unnamed": ("zip(self.names", "zip('abcdef'", "every_kind_of_input_and_output"),
    "planted_reused": (
        "answers = self.evaluator.run(None, feed)",
        "answers = self.evaluator.run(None, feed)\n"
        "        buffers = self.__dict__.setdefault('buffers', [np.zeros(10**6, a.dtype) for a in answers])\n"
        "        for buffer, answer in zip(buffers, answers):\n"
        "            buffer[: answer.size] = answer.ravel()\n"
        "        answers = [b[: a.size].reshape(a.shape) for a, b in zip(answers, buffers)]",
        "answers_outlive_later_calls",
    ),
    "planted_fickle": (
        "answers = self.evaluator.run(None, feed)",
        "self.calls = getattr(self, 'calls', 0) + 1\n"
        "        answers = [a * a.dtype.type(1 + self.calls * 5e-7) for a in self.evaluator.run(None, feed)]",
        "same_feed_gives_the_same_answer",
    ),
    "planted_boast": ("return []", BOAST, "layers_say_their_precision"),
    "planted_silent": ("return None", SILENT, "says_how_to_install"),
    "planted_unversioned": ('importlib.metadata.version("onnx")', '"the latest"', "version_and_variants"),
}
PASS_FAULTS: Faults = {
    "planted_inplace": ("made.CopyFrom(model.proto)", "made = model.proto", "it_works_or_says_why_not"),
    "planted_infinite": ("np.trunc(part", "np.inf * (part", "it_works_or_says_why_not"),
    "planted_renamed": (
        "return OnnxModel(made)", "made.graph.input[0].name = 'new'\n        return OnnxModel(made)",
        "it_works_or_says_why_not",
    ),
    "planted_terse": ("bits: so many", "so many", "explains_its_settings"),
    "planted_idle": ("made = onnx.ModelProto()", IDLE, "it_works_somewhere"),
}  # fmt: skip
STEP_FAULTS: Faults = {
    "planted_careless": ("copy.deepcopy(model.module)", "model.module", "it_works_or_says_why_not"),
    "planted_unrecorded": (
        "return dataclasses", "module.register_buffer('more', next(module.parameters()).detach().clone())\n"
        "        return dataclasses", "it_works_or_says_why_not",
    ),
    "planted_other": (
        "return dataclasses", "return __import__('hasten.export').export.export(model, task.sample()).model\n"
        "        return dataclasses", "it_works_or_says_why_not",
    ),
}  # fmt: skip


def plant(root: Path, files: dict[str, str]) -> dict[str, str]:
    """Copy the package and its tests into `root`, plant `files` (place in the package -> text).

    Returns:
        The environment in which Python takes the copy.
    """
    spec = TESTS.parent / "spec"
    for source, target in ((PACKAGE, root / "src" / "hasten"), (TESTS, root / "tests"), (spec, root / "spec")):
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(TESTS.parent / "pyproject.toml", root)
    shutil.copy(_core.__file__, root / "src" / "hasten")  # what was built lies beside the installed package
    for place, text in files.items():
        (root / "src" / "hasten" / place).write_text(text)
    (root / "src" / "sitecustomize.py").write_text(UNREDIRECTED)
    return os.environ | {"PYTHONPATH": str(root / "src"), "PYTHONDONTWRITEBYTECODE": "1"}


def outcomes(root: Path, environment: dict[str, str], suite: str) -> dict[str, dict[str, bool]]:
    """Run a contract suite in the copy, on the planted files alone: file -> test -> passed, without skipped ones."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", "planted", "--junitxml=said.xml"]
    done = subprocess.run(
        [*command, f"tests/contract/{suite}"], cwd=root, env=environment, capture_output=True, text=True
    )
    assert (root / "said.xml").exists(), done.stdout + done.stderr
    seen: dict[str, dict[str, bool]] = defaultdict(dict)
    for case in ElementTree.parse(root / "said.xml").iter("testcase"):
        test = case.get("name", "")
        if case.find("skipped") is None:
            passed = case.find("failure") is None and case.find("error") is None
            seen[re.search(r"planted\w*", test)[0]][test] = passed
    return seen


def faulty(name: str, source: str, faults: Faults) -> dict[str, str]:
    """The good file, and one for each fault: name -> text."""
    good = (Path(__file__).parent / "planted" / source).read_text()
    assert all(before in good for before, _, _ in faults.values())
    return {name: good} | {fault: good.replace(before, after) for fault, (before, after, _) in faults.items()}


def assert_held_to_contract(seen: dict[str, dict[str, bool]], good: str, faults: Faults, least: int) -> None:
    """The good file passed everything, and at least so much; each fault was seen by the test that is there for it."""
    assert [test for test, passed in seen[good].items() if not passed] == []
    assert len(seen[good]) >= least
    for name, (_, _, there_for_it) in faults.items():
        red = [test for test, passed in seen[name].items() if not passed]
        assert any(there_for_it in test for test in red), f"{name}: only {red} turned red"


def said(root: Path, environment: dict[str, str], script: str) -> str:
    """What a script prints in the copy."""
    command = [sys.executable, "-c", script]
    return subprocess.run(
        command, cwd=root, env=environment, stdout=subprocess.PIPE, text=True, check=True
    ).stdout.strip()


def test_an_engine_is_one_new_file(tmp_path: Path) -> None:
    files = faulty("planted", "engine.py", ENGINE_FAULTS)
    environment = plant(tmp_path, {f"engines/{name}.py": text for name, text in files.items()})
    script = "from hasten import find; print(find.engine('planted')(threads=2), 'planted' in find.engines())"
    assert said(tmp_path, environment, script) == "planted(threads=2) True"
    assert_held_to_contract(outcomes(tmp_path, environment, "test_engines.py"), "planted", ENGINE_FAULTS, least=20)


def test_a_pass_and_a_technique_are_one_new_file_each(tmp_path: Path) -> None:
    passes, steps = (
        faulty("planted_pass", "graph_pass.py", PASS_FAULTS),
        faulty("planted_step", "technique.py", STEP_FAULTS),
    )
    files = {f"graph/{name}.py": text for name, text in passes.items()}
    environment = plant(tmp_path, files | {f"compress/{name}.py": text for name, text in steps.items()})
    recipe = "planted_step(largest=0.5) > planted_pass(bits=9)"
    script = "from hasten.recipe import Recipe; print(Recipe.parse('planted_step(0.5)>planted_pass(9)'))"
    assert said(tmp_path, environment, script) == recipe
    seen = outcomes(tmp_path, environment, "test_techniques.py")
    assert_held_to_contract(seen, "planted_pass", PASS_FAULTS, least=15)
    assert_held_to_contract(seen, "planted_step", STEP_FAULTS, least=15)
