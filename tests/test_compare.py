"""compare as a whole: on small networks, with everything really made and measured."""

import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from trainable import convolutions, quadrants

from hasten import find
from hasten.cli import main
from hasten.compare import FEWEST, QUICK, SHARED, _quick, compare
from hasten.errors import InputError, UsageError
from hasten.recipe import Recipe
from hasten.report.comparison import comparison_tables
from hasten.report.kept import read
from hasten.search.rows import Rows
from hasten.task import Task

TASK_FILE = """
import torch
from trainable import convolutions, quadrants

torch.set_num_threads(1)
task = quadrants(lambda: convolutions(seed=3), at_most={"validate": 150})
"""
TECHNIQUES = ("prune", "quantize", "half", "simplify")


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    path = tmp_path_factory.mktemp("task") / "task.py"
    here = Path(__file__).parent
    path.write_text(f"import sys\nsys.path.append({str(here)!r})\n{TASK_FILE}")
    return Task.load(path)


@pytest.fixture(scope="module")
def compared(task: Task, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    out = tmp_path_factory.mktemp("compare") / "out"
    how: dict[str, Any] = {"techniques": TECHNIQUES, "engines": ["onnxruntime"], "recipes": ["simplify > half"]}
    return compare(task, out, quick=True, zoo=[task], max_drop=0.5, **how), out


def test_the_result_is_as_documented(compared: tuple[dict[str, Any], Path]) -> None:
    found, out = compared
    assert read(out / "result.json", "comparison") == found
    assert found["samples"] == {"train": 256, "calibrate": 64, "validate": 150, "test": 200}
    for row in found["rows"]:
        assert str(Recipe.parse(row["recipe"])) == row["recipe"]
        if row["reason"]:
            assert (row["trials"], row["best"], row["test"]) == ([], None, None)
            continue
        best = row["trials"][row["best"]]
        assert best["n_samples"] == 150
        assert row["test"]["n_samples"] == 200
        assert best["latency_p50_ms"] > 0
        assert next(iter(best["speedups"])) == found["reference"]
    assert "<svg" in (out / "report.html").read_text()


def test_each_alone_at_two_settings_then_together(compared: tuple[dict[str, Any], Path]) -> None:
    found, _ = compared
    rows = found["rows"]
    alone = {name: [r for r in rows if r["technique"] == name and r["role"] == "alone"] for name in TECHNIQUES}
    assert {name: len(rows) for name, rows in alone.items()} == {"prune": 2, "quantize": 2, "half": 1, "simplify": 1}
    assert [r["recipe"] for r in rows if r["role"] == "control"] == ["heal(epochs=3)"]
    together = [r["recipe"] for r in rows if r["role"] == "together"]
    assert "simplify > half" in together  # which was asked for
    (both,) = (Recipe.parse(r) for r in together if r.startswith("prune"))
    assert [type(s).__name__ for s in both.steps] == ["Prune", "Quantize"]
    pruned = {r["recipe"]: r for r in rows}
    first, last = str(both.steps[0]), str(both)
    assert pruned[last]["trials"][0]["macs"] == pruned[first]["trials"][0]["macs"] < found["baselines"][0]["macs"]
    assert pruned[last]["minutes"] > pruned[first]["minutes"] > 0  # of the whole recipe, though pruned once
    assert pruned[last]["needs"] == ["calibrate", "train"]


def test_what_it_depends_on_has_evidence(compared: tuple[dict[str, Any], Path]) -> None:
    found, _ = compared
    assert {g["technique"] for g in found["zoo"]} == set(TECHNIQUES)
    said = {d["technique"]: d["architecture"] for d in found["dependence"]}
    assert said["quantize"]["said"].startswith("applies to 1 of 1 networks; ")
    assert "times as fast on onnxruntime" in said["quantize"]["said"]
    (glance,) = (g for g in found["zoo"] if g["technique"] == "quantize")
    assert list(glance["speedups"]) == ["onnxruntime"]


def test_a_run_that_is_resumed_measures_nothing_again(compared: tuple[dict[str, Any], Path], task: Task) -> None:
    """As after a kill just before the end: what was measured is taken from the store."""
    found, out = compared
    stores = [out / "trials.sqlite", out / "zoo" / "quadrants" / "trials.sqlite"]
    before = [store.stat().st_mtime for store in (*out.glob("models/*.onnx"), *out.glob("torch/*/plan.json"))]
    with sqlite3.connect(stores[0]) as store:
        store.execute("update run set finished = 0")
    (out / "result.json").unlink()
    how: dict[str, Any] = {"techniques": TECHNIQUES, "engines": ["onnxruntime"], "recipes": ["simplify > half"]}
    with pytest.raises(InputError, match="had another options"):
        compare(task, out, quick=True, zoo=[task], resume=True, **how)
    again = compare(task, out, quick=True, zoo=[task], max_drop=0.5, resume=True, **how)
    assert again["rows"] == found["rows"]
    assert before == [store.stat().st_mtime for store in (*out.glob("models/*.onnx"), *out.glob("torch/*/plan.json"))]
    for path in stores:
        with sqlite3.connect(path) as store:
            assert {n for (n,) in store.execute("select started from trials where status not in ('failed')")} == {1}


def test_an_onnx_file_has_the_rows_that_it_can_have(tiny_onnx_task: Task, tmp_path: Path) -> None:
    found = compare(tiny_onnx_task, tmp_path / "out", quick=True, engines=["onnxruntime"])
    rows = {r["technique"]: r for r in found["rows"] if r["role"] == "alone"}
    assert rows["simplify"]["best"] == 0
    assert rows["prune"]["reason"] == "it works on a torch model, and this one is an ONNX file"
    assert "prune(ratio=0.3, epochs=3): it works on a torch model" in str(list(comparison_tables(found)))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"techniques": ["prune"]}, "prune cannot be tried on .*: it works on a torch model"),
        ({"techniques": ["heal"]}, "heal has no settings to compare it by; name some: --recipe 'heal"),
        ({"engines": ["onnxrunthyme"]}, "did you mean 'onnxruntime'"),
    ],
)
def test_what_was_named_and_cannot_be_is_said_at_once(
    how: dict[str, Any], said: str, tiny_onnx_task: Task, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=said):
        compare(tiny_onnx_task, tmp_path / "out", **how)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_other_things_stays_as_it_is(task: Task, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mine.onnx").write_text("mine")
    with pytest.raises(InputError, match="holds files that are not of a run; choose another folder"):
        compare(task, tmp_path, quick=True, techniques=["simplify"])
    assert [p.name for p in tmp_path.rglob("*")] == ["models", "mine.onnx"]


def test_networks_of_a_zoo_have_names_of_their_own(task: Task, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the same name"):
        compare(task, tmp_path / "out", quick=True, techniques=["simplify"], zoo=[task, task])


def test_a_network_that_does_not_run_is_left_out_with_its_reason(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*given: object) -> None:
        raise InputError("the model does not run as it is")

    begun = Rows.__init__

    def init(self: Rows, bench: Any, *more: Any) -> None:
        broken() if "zoo" in bench.shop.folder.parts else begun(self, bench, *more)

    monkeypatch.setattr(Rows, "__init__", init)
    found = compare(task, tmp_path / "out", quick=True, techniques=["simplify"], engines=["onnxruntime"], zoo=[task])
    assert [(g["network"], g["reason"]) for g in found["zoo"]] == [("quadrants", "the model does not run as it is")]
    assert found["dependence"][0]["architecture"] == {"depends": None, "said": "tried on no further network"}
    assert read(tmp_path / "out" / "result.json", "comparison") == found


def test_the_command(task: Task, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In other people's CI: no where a condition holds, with one sentence."""
    words = ["compare", str(task.source), "-o", str(tmp_path / "out"), "--quick", "--technique", "simplify"]
    words += ["--engine", "onnxruntime", "--json", str(tmp_path / "r.json")]
    assert main([*words, "--fail-if", "speedup>100"]) == 0
    assert "simplify" in capsys.readouterr().out
    first = json.loads((tmp_path / "r.json").read_text())
    assert first["command"].startswith("hasten compare ")
    assert main([*words, "--resume", "--fail-if", "size>-50%", "--against", str(tmp_path / "r.json")]) == 1
    assert "simplify: size is" in capsys.readouterr().err
    assert main([*words, "--resume", "--fail-if", "p50>+5%"]) == 2
    assert "add --against" in capsys.readouterr().err
    (tmp_path / "out" / "report.html").unlink()
    assert main(["report", str(tmp_path / "out")]) == 0
    assert "simplify" in (tmp_path / "out" / "report.html").read_text()
    capsys.readouterr()
    assert main([*words, "--resume", "--zoo", str(tmp_path)]) == 3
    assert "has no task file" in capsys.readouterr().err


def test_what_trains_shares_the_samples_of_a_quick_comparison() -> None:
    """Of the table of everything each has fewer; one alone has as many as a quick comparison gives at most."""
    whole = quadrants(convolutions)
    one = {name: find.technique(name) for name in ("prune", "simplify")}
    assert _quick(one, whole).at_most["train"] == QUICK.at_most["train"]
    every = find.techniques()
    training = sum("train" in p.needs for kind in every.values() for p in kind.presets(whole, 1))
    assert training > 7
    assert FEWEST <= _quick(every, whole).at_most["train"] <= SHARED / training
    assert _quick(every, replace(whole, train=None)).at_most["train"] == QUICK.at_most["train"]
