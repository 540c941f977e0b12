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

Faults = dict[str, tuple[str, str, str]]
PACKAGE, TESTS = Path(hasten.__file__).parent, Path(__file__).parents[1]

ENGINE = '''"""The reference evaluator of the onnx package: slow, and needs nothing else."""

import dataclasses
import importlib.metadata
import importlib.util

import numpy as np

from hasten.engine import Compiled, Engine, Layer


@dataclasses.dataclass(frozen=True)
class Reference(Engine):
    @classmethod
    def missing(cls):
        return None

    @classmethod
    def version(cls):
        return importlib.metadata.version("onnx")

    @classmethod
    def variants(cls, quantized):
        return (cls(),)

    @property
    def precision(self):
        return "f32"

    def _compile(self, model):
        return Evaluator(model)


class Evaluator(Compiled):
    def __init__(self, model):
        import onnx
        from onnx.reference import ReferenceEvaluator

        proto = onnx.load(model.path) if not hasattr(model, "proto") else model.proto
        self.names = [t.name for t in model.signature.outputs]
        self.evaluator = ReferenceEvaluator(proto)

    def run(self, feed):
        answers = self.evaluator.run(None, feed)
        return {name: np.asarray(answer) for name, answer in zip(self.names, answers)}

    def layers(self):
        return []
'''

# file -> (what stands in the good file, what stands there instead, the test that has to see it)
ENGINE_FAULTS: Faults = {
    "planted_wrong": ("np.asarray(answer)", "np.asarray(answer) * answer.dtype.type(1.01)", "answers_as_torch_does"),
    "planted_wide": ("np.asarray(answer)", "np.asarray(answer, np.float64)", "fixed_batch"),
    "planted_unnamed": ("zip(self.names", "zip('abcdef'", "every_kind_of_input_and_output"),
    "planted_reused": (
        "np.asarray(answer)",
        "self.__dict__.setdefault(name, np.zeros(10**6, answer.dtype))[:answer.size].reshape(answer.shape)",
        "answers_outlive_later_calls",
    ),
    "planted_fickle": (
        "answers = self.evaluator.run(None, feed)",
        "self.calls = getattr(self, 'calls', 0) + 1\n"
        "        answers = [a * a.dtype.type(1 + self.calls * 5e-7) for a in self.evaluator.run(None, feed)]",
        "same_feed_gives_the_same_answer",
    ),
    "planted_boast": ("return []", "return [Layer('fast', 'Conv', 'i8', True)]", "layers_say_their_precision"),
    "planted_silent": (
        "return None",
        "return None if importlib.util.find_spec('re') else 'no'",
        "says_how_to_install",
    ),
    "planted_unversioned": ('importlib.metadata.version("onnx")', '"the latest"', "version_and_variants"),
}


def plant(root: Path, files: dict[str, str]) -> dict[str, str]:
    """Copy the package and its tests into `root`, plant `files` (place in the package -> text).

    Returns:
        The environment in which Python takes the copy.
    """
    for source, target in ((PACKAGE, root / "src" / "hasten"), (TESTS, root / "tests")):
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(TESTS.parent / "pyproject.toml", root)
    for place, text in files.items():
        (root / "src" / "hasten" / place).write_text(text)
    return os.environ | {"PYTHONPATH": str(root / "src"), "PYTHONDONTWRITEBYTECODE": "1"}


def outcomes(root: Path, environment: dict[str, str], suite: str) -> dict[str, dict[str, bool]]:
    """Run a contract suite in the copy, on the planted files alone: file -> test -> passed; skipped ones are left out."""
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


def faulty(good: str, faults: Faults, folder: str) -> dict[str, str]:
    """The good file as `planted.py`, and one file for each fault."""
    assert all(before in good for before, _, _ in faults.values())
    made = {name: good.replace(before, after) for name, (before, after, _) in faults.items()}
    return {f"{folder}/{name}.py": text for name, text in ({"planted": good} | made).items()}


def assert_held_to_contract(seen: dict[str, dict[str, bool]], faults: Faults, least: int) -> None:
    """The good file passed everything; each fault was seen by the test that is there for it."""
    assert [test for test, passed in seen["planted"].items() if not passed] == []
    assert len(seen["planted"]) >= least
    for name, (_, _, there_for_it) in faults.items():
        red = [test for test, passed in seen[name].items() if not passed]
        assert any(there_for_it in test for test in red), f"{name}: only {red} turned red"


def test_an_engine_is_one_new_file(tmp_path: Path) -> None:
    environment = plant(tmp_path, faulty(ENGINE, ENGINE_FAULTS, "engines"))
    script = "from hasten import find; print(find.engine('planted')(threads=2), 'planted' in find.engines())"
    listed = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert listed.stdout.strip() == "planted(threads=2) True"
    assert_held_to_contract(outcomes(tmp_path, environment, "test_engines.py"), ENGINE_FAULTS, least=20)
