"""The bundles of spec/ on both runners: golden ones give their answers again, broken ones are refused."""

import json
import re
import subprocess
from pathlib import Path
from runpy import run_path
from typing import Protocol

import numpy as np
import pytest

from hasten import cpp
from hasten.bundle import Bundle
from hasten.diagnose.parity import parity, random_inputs
from hasten.errors import HastenError

SPEC = Path(__file__).parents[2] / "spec"
GOLDEN = sorted((SPEC / "golden").iterdir())
BROKEN = json.loads((SPEC / "broken" / "cases.json").read_text())
OWN = re.compile(r"(?<=is not strict JSON) \(.*\)|(?<=is not a \.npy file) \(.*\)")  # a parser's own words


class Runner(Protocol):
    """What a runner of bundles can do."""

    def verify(self, folder: Path) -> tuple[int, str]:
        """Exit code and sentence; 0 and nothing where all is well."""

    def decide(self, folder: Path, raw: dict[str, Path]) -> list[object]: ...


class Python:
    def verify(self, folder: Path) -> tuple[int, str]:
        try:
            Bundle.load(folder).close()
        except HastenError as fault:
            return fault.exit_code, str(fault)
        return 0, ""

    def decide(self, folder: Path, raw: dict[str, Path]) -> list[object]:
        with Bundle.load(folder, verify=False) as bundle:
            return bundle.answer({name: np.load(file) for name, file in raw.items()})


class Cpp:
    def verify(self, folder: Path) -> tuple[int, str]:
        ended = subprocess.run([cpp.program(), folder, "--verify"], capture_output=True, text=True)
        return ended.returncode, ended.stderr.strip().removeprefix("hasten-run: ")

    def decide(self, folder: Path, raw: dict[str, Path]) -> list[object]:
        word = ",".join(f"{name}={file}" for name, file in raw.items())
        return [line["decision"] for line in cpp.answers(folder, word)]


@pytest.fixture(params=[Python(), Cpp()], ids=["Python", "C++"])
def runner(request: pytest.FixtureRequest) -> Runner:
    return request.param


def test_there_are_enough() -> None:
    assert len(GOLDEN) >= 8
    assert len(BROKEN) >= 15
    assert {p.name for p in (SPEC / "broken").iterdir() if p.is_dir()} == set(BROKEN)
    for folder in GOLDEN:
        assert sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) < 100_000


def test_the_script_beside_them_makes_them_all() -> None:
    made = run_path(str(SPEC / "make.py"))
    assert {make.__name__.replace("_", "-") for make in made["GOLDEN"]} == {folder.name for folder in GOLDEN}
    assert set(made["BROKEN"]) == set(BROKEN)


@pytest.mark.parametrize("folder", GOLDEN, ids=lambda f: f.name)
def test_a_golden_bundle_gives_its_answers_again(runner: Runner, folder: Path) -> None:
    assert runner.verify(folder) == (0, "")


@pytest.mark.parametrize("folder", GOLDEN, ids=lambda f: f.name)
def test_its_decisions_are_those_that_are_written(runner: Runner, folder: Path) -> None:
    for case in json.loads((folder / "golden/cases.json").read_text())["cases"]:
        raw = {name: folder / path for name, path in case["raw"].items()}
        assert runner.decide(folder, raw) == case["decision"]


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_bundle_is_refused(runner: Runner, name: str) -> None:
    folder = SPEC / "broken" / name
    code, said = runner.verify(folder)
    assert OWN.sub("", said).replace(str(folder), "BUNDLE") == BROKEN[name]["says"]
    assert code == BROKEN[name]["exit"]


@pytest.mark.parametrize("folder", GOLDEN, ids=lambda f: f.name)
def test_both_runners_give_the_same(folder: Path, tmp_path: Path) -> None:
    """Random inputs: prepared bytes and decisions equal, outputs equal to the bit on the same engine and settings."""
    with Bundle.load(folder) as bundle:
        assert parity(bundle) == ""
        raw = random_inputs(bundle, seed=1)
        for name, array in raw.items():
            np.save(tmp_path / f"{name}.npy", array)
        cpp.answers(folder, ",".join(f"{n}={tmp_path / n}.npy" for n in raw), "--outputs", tmp_path)
        for i, array in enumerate(bundle.run(raw).values()):
            assert np.load(tmp_path / f"{i}.npy").tobytes() == array.tobytes()
