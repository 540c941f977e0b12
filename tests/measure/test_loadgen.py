"""LoadGen on a tiny bundle: every scenario, the checks that can fail, and what goes wrong told in a sentence."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import bundles
import numpy as np
import pytest
from jsonschema import Draft202012Validator
from load_bundles import MOMENT, lookup

from hasten import manifest
from hasten.bundle import Bundle
from hasten.child import Child, ChildDied
from hasten.errors import InputError, MissingError, Unmet, UsageError
from hasten.measure import _load_checks, _load_runner, _load_subject, loadgen, machine
from hasten.measure._load_checks import answers_check, repeated_check
from hasten.measure._load_runner import Python
from hasten.measure._load_samples import DISTINCT, Samples, _variations, gather
from hasten.measure._load_settings import (
    QUICK,
    SCENARIOS,
    STRICT,
    Probe,
    Settings,
    accuracy,
    parts,
    performance,
)
from hasten.measure._load_work import Work
from hasten.measure._loadgen_log import enough, run_of
from hasten.model import Signature
from hasten.stage import Stage, Unless
from hasten.task import Task

PROBE = Probe(2.0, 2.5, {1: 500.0, 2: 700.0, 4: 600.0})


@pytest.fixture(autouse=True)
def moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of a moment: they show that all is done, and no figure."""
    monkeypatch.setattr(loadgen, "QUICK", MOMENT)
    monkeypatch.setattr(loadgen, "PROBE_S", 0.1)
    monkeypatch.setattr(loadgen, "SEARCH_S", 0.2)
    monkeypatch.setattr(loadgen, "SEARCH_STEPS", 1)
    monkeypatch.setattr(_load_checks, "PAIRS", 1)
    monkeypatch.setattr(_load_checks, "CACHED", 0.1)  # so short a run may be disturbed


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with bundles.make(tmp_path_factory.mktemp("load") / "b") as made:
        return made.folder


@pytest.fixture
def work(bundle: Path, tmp_path: Path) -> Work:
    with Bundle.load(bundle) as loaded:
        return Work(Python(bundle), gather(loaded, None, tmp_path), PROBE, MOMENT, 0, tmp_path, lambda _: None)


@pytest.mark.parametrize(
    ("quantile", "needed"), [(0.5, 11), (0.9, 64), (0.95, 130), (0.99, 662)], ids=["p50", "p90", "p95", "p99"]
)
def test_percentiles_need_as_many_as_early_stopping_does(quantile: float, needed: int) -> None:
    assert enough(quantile) == needed


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_scenario_is_valid_and_answers_as_at_rest(scenario: Any, bundle: Path, tmp_path: Path) -> None:
    found = loadgen.load(bundle, scenario, bound_ms=200 if scenario == "Server" else None, logs=tmp_path / "logs")
    Draft202012Validator(manifest.schema("load")).validate(found)
    json.dumps(found, allow_nan=False)
    timed, exact = found["runs"]
    assert (timed["mode"], exact["mode"]) == ("performance", "accuracy")
    assert timed["valid"], timed["reasons"]
    assert exact["valid"]
    assert timed["duration_s"] >= 0.9 * MOMENT.seconds
    assert [c["name"] for c in timed["checks"]] == ["answers", "repeated"]
    assert all(check["passed"] for run in found["runs"] for check in run["checks"])
    assert exact["checks"][0]["said"] == "8 answers under load are those at rest, byte for byte"
    assert found["said"] == "measured with LoadGen, not an MLPerf result"
    for run in found["runs"]:  # what the runner read, and LoadGen's own logs, are kept
        read = json.loads(Path(run["settings_file"]).read_text())
        assert {name: read[name] for name in run["settings"]} == run["settings"]
        assert "Result" in (Path(run["settings_file"]).parent / "mlperf_log_summary.txt").read_text() or run is exact
    per_query = 8 if scenario == "MultiStream" else 1
    assert timed["samples"] == (timed["samples"] if scenario == "Offline" else per_query * timed["queries"])
    assert (timed["percentiles"] is None) == (scenario == "Offline")
    assert bool(found["search"]) == (scenario == "Server")


def test_too_few_samples_for_a_percentile_are_said(work: Work) -> None:
    """A rate of 100 queries a second for 0.3 s, where nobody asks for more of them."""
    settings = performance("Server", MOMENT, PROBE, work.samples.count, 0, qps=100.0, bound_ms=500.0)
    run, _ = work.run(replace(settings, min_query_count=30))
    assert 30 <= run["queries"] < 64
    assert run["percentiles"]["p50"] > 0
    assert run["percentiles"]["p90"] is run["percentiles"]["p99"] is None
    said = "too few samples for p90 (64 are needed), p95 (130 are needed), p99 (662 are needed)"
    assert said in run["percentiles_said"]
    assert not run["valid"]
    assert "too few queries for what early stopping asks" in run["reasons"]
    assert run["early_stopping"]["estimate_ms"] is None


def test_wrong_expectations_end_early_and_are_mended(work: Work) -> None:
    settings = performance("SingleStream", MOMENT, PROBE, work.samples.count, 0)
    slow = replace(settings, expected_latency_ms=100.0, min_query_count=1)  # six queries are made, and answered at once
    first, _ = work.run(slow)
    assert not first["valid"]
    assert first["reasons"][0] == "it ended before its shortest duration"
    mended, used, _ = loadgen._attempted(work, slow, 3)
    assert mended["valid"]
    assert (used.expected_latency_ms or 100.0) < 10


def test_a_bound_that_cannot_be_held_is_not_held(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loadgen, "LAST_STEPS", 1)
    found = loadgen.load(bundle, "Server", bound_ms=1e-3)
    assert not found["runs"][0]["valid"]
    assert "the latency bound is not held" in found["runs"][0]["reasons"]
    assert not any(step["held"] for step in found["search"])


@pytest.mark.parametrize("truth", [3.0, 20.0, 70.0, 99.0, 150.0])
def test_the_search_finds_the_highest_rate(truth: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loadgen, "SEARCH_STEPS", 6)
    asked: list[float] = []
    found = loadgen._highest(lambda qps: asked.append(qps) or qps <= truth, 100.0)
    assert truth / 1.05 < found <= truth
    assert len(asked) <= 12
    assert loadgen._highest(lambda _: False, 100.0) == pytest.approx(100 / 64)


def test_expectations_are_faster_than_the_probe() -> None:
    single = performance("SingleStream", QUICK, PROBE, 8, 0)
    assert (single.expected_latency_ms, single.min_query_count, single.percentile) == (1.0, 64, 0.9)
    multi = performance("MultiStream", QUICK, PROBE, 8, 0)
    assert (multi.samples_per_query, multi.min_query_count, multi.sizes) == (8, 662, (2, 1))
    assert multi.expected_latency_ms == pytest.approx(0.5 * 8e3 / 700)
    assert performance("Offline", QUICK, PROBE, 8, 0).expected_qps == pytest.approx(1.3 * 700)
    strict = performance("Offline", STRICT, PROBE, 8, 0)
    assert (strict.min_duration_s, strict.min_query_count) == (600, 24_576)
    assert accuracy(strict, PROBE).min_duration_s == 0
    assert performance("Server", STRICT, PROBE, 8, 0, qps=100, bound_ms=15).latency_bound_ms == 15


def test_what_cannot_be_valid_in_the_time_is_refused() -> None:
    slow = Probe(400.0, 400.0, {1: 2.5})
    with pytest.raises(
        InputError, match=r"MultiStream needs at least 662 queries.*no valid run within the 60 s.*--strict"
    ):
        performance("MultiStream", QUICK, slow, 8, 0)
    with pytest.raises(InputError, match=r"Offline needs at least 24576 samples.*9830 s"):
        performance("Offline", STRICT, slow, 8, 0)
    assert performance("SingleStream", QUICK, slow, 8, 0).min_query_count == 64


def test_calls_are_made_of_the_sizes_that_there_are() -> None:
    assert parts(23, (16, 4, 1)) == [16, 4, 1, 1, 1]
    assert PROBE.sizes(8) == (2, 1)
    assert Probe.from_json(json.loads(json.dumps(PROBE.to_json()))) == PROBE


def test_another_answer_under_load_is_seen(work: Work) -> None:
    settings = accuracy(performance("SingleStream", MOMENT, PROBE, work.samples.count, 0), PROBE)
    _, out = work.run(settings)
    assert Python(work.runner.bundle).rest(work.samples.folder, work.samples.count, work.scratch / "rest", 60) == 8
    assert answers_check(out, work.scratch / "rest", work.samples, None, None)["passed"]
    rest = np.load(work.scratch / "rest" / "0.npy")
    rest[3, 1] = np.nextafter(rest[3, 1], np.float32(np.inf))
    np.save(work.scratch / "rest" / "0.npy", rest)
    told = answers_check(out, work.scratch / "rest", work.samples, None, None)
    assert (told["passed"], told["said"]) == (False, "1 samples are answered otherwise under load than at rest")


def test_a_cache_is_seen(work: Work, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_load_checks, "CACHED", 0.8)

    def run(settings: Any, samples: Path) -> tuple[dict[str, Any], Path]:
        assert np.load(samples / "0.npy").shape == (bundles.FEATURES, bundles.FEATURES)
        return {"percentiles": {"p50": 0.5 if settings.same_sample else 1.0}}, samples

    monkeypatch.setattr(work, "run", run)
    with Bundle.load(bundle, verify=False) as loaded:
        told = repeated_check(work, loaded)
        assert told["passed"] is False
        assert "0.500 of the time of 6 distinct ones: answers are cached" in told["said"]
        hasty = replace(loaded.stages[0], unless=Unless("logits", "softmax", 0.5))
        assert repeated_check(work, replace(loaded, stages=(hasty,)))["passed"] is None


def test_distinct_samples_are_distinct(work: Work) -> None:
    made = np.load(work.samples.distinct / "0.npy")
    assert len({row.tobytes() for row in made}) == len(made) == work.samples.distinct_count == bundles.FEATURES
    assert all(sorted(row) == sorted(made[0]) for row in made)
    assert [len(a) for a in _variations([np.arange(100.0).reshape(1, 10, 10), np.zeros((1, 2))])] == [DISTINCT] * 2
    assert len(_variations([np.zeros((1, 5))])[0]) == 1


@pytest.mark.parametrize("shipped", [None, 0.125], ids=["its own", "another"])
def test_accuracy_under_load_is_that_of_the_bundle(
    shipped: float | None, tiny_onnx_task: Task, tiny_onnx: Path, tmp_path: Path
) -> None:
    stage = Stage.of(tiny_onnx, bundles.engine())
    data = tiny_onnx_task.split("test")
    with stage.compile() as session:
        right = float((next(iter(session(data.inputs).values())).argmax(1) == data.target).mean())
    measured = {"accuracy": right if shipped is None else shipped, "split": "test", "n_samples": len(data)}
    given = {"stages": [stage], "cases": replace(data, target=None), "pipeline": tiny_onnx_task.pipeline}
    with bundles.make(tmp_path / "b", measurements=measured, conditions={"cpu": machine.cpu()}, **given) as made:
        found = loadgen.load(made.folder, "Offline", task=tiny_onnx_task)
    check = found["runs"][1]["checks"][0]
    assert (check["accuracy"]["under_load"], check["accuracy"]["at_rest"]) == (right, right)
    assert check["accuracy"]["in_bundle"] == measured["accuracy"]
    assert check["passed"] is (shipped is None)
    assert found["samples"] == {"count": 200, "source": "test", "whole": True}
    Draft202012Validator(manifest.schema("load")).validate(found)


def test_a_task_that_has_drifted_is_refused(tiny_onnx_task: Task, bundle: Path, tmp_path: Path) -> None:
    from hasten.answer import Answer
    from hasten.pipeline import Pipeline

    moved = replace(tiny_onnx_task, pipeline=Pipeline(answer=Answer("classes", top_k=2)))
    with Bundle.load(bundle) as loaded, pytest.raises(Unmet, match="has drifted"):
        gather(loaded, moved, tmp_path)


def test_an_engine_that_fails_under_load_is_a_sentence(tmp_path: Path) -> None:
    """The samples are good but for one; no run waits for an answer that never comes."""
    with lookup(tmp_path) as made:
        folder = made.folder
    samples = tmp_path / "samples"
    samples.mkdir()
    np.save(samples / "0.npy", np.array([0, 1, 2, 3, 99], np.int64))
    for scenario in ("SingleStream", "Server"):
        settings = performance(scenario, MOMENT, PROBE, 5, 0, qps=2000, bound_ms=100)
        with pytest.raises(InputError, match="the engine fails"):
            Python(folder).test(samples, settings, tmp_path / scenario)


def test_a_process_that_dies_under_load_is_a_sentence(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    class Mortal(Child):
        def call(self, method: str, timeout_s: float = 600.0, **arguments: Any) -> Any:
            if method == "run":
                threading.Timer(1.5, os.kill, (self.pid, signal.SIGKILL)).start()
            return super().call(method, timeout_s, **arguments)

    monkeypatch.setattr(_load_runner, "Child", Mortal)
    settings = performance("SingleStream", replace(MOMENT, seconds=30.0), PROBE, work.samples.count, 0)
    with pytest.raises(ChildDied, match="was killed by SIGKILL"):
        work.run(settings)


def test_bad_input_is_a_sentence(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        loadgen.load(tmp_path / "nothing", "Offline")
    with pytest.raises(InputError, match="is not a bundle"):
        loadgen.load(tmp_path, "Offline")
    with pytest.raises(UsageError, match="--latency is for Server"):
        loadgen.load(bundle, "Offline", bound_ms=3.0)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "old").write_text("")
    with pytest.raises(InputError, match="is not an empty folder"):
        loadgen.load(bundle, "Offline", logs=tmp_path / "logs")
    with Bundle.load(bundle, verify=False) as loaded:
        empty = replace(loaded, signature=Signature((), loaded.signature.outputs))
        with pytest.raises(InputError, match="has no inputs"):
            gather(empty, None, tmp_path / "samples")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingError, match=r"pip install 'hasten\[loadgen\]'"):
        loadgen.require(in_cpp=False)


def test_a_test_that_did_not_end_is_no_result(tmp_path: Path) -> None:
    settings = performance("Offline", MOMENT, PROBE, 8, 0)
    with pytest.raises(InputError, match="log cannot be read"):
        run_of(tmp_path, settings)
    (tmp_path / "mlperf_log_detail.txt").write_text(':::MLLOG {"key": "a", "value": 1}\n')
    with pytest.raises(InputError, match="did not come to its end"):
        run_of(tmp_path, settings)


def test_fewer_samples_are_said(work: Work) -> None:
    assert work.samples.first(100) is work.samples
    cut = Samples(work.samples.folder, work.samples.distinct, 8, 6, "test", labels=np.arange(8)).first(3)
    assert (cut.count, cut.whole, cut.labels.tolist()) == (3, False, [0, 1, 2])


def test_more_queries_than_memory_holds_are_refused() -> None:
    """LoadGen makes them all before it issues the first."""
    swift = Probe(1e-4, 1e-4, {1: 1e7})
    with pytest.raises(InputError, match=r"SingleStream at .* makes LoadGen hold \d+ GB of them.*leave --strict out"):
        performance("SingleStream", STRICT, swift, 8, 0)


def test_the_schema_is_closed_and_says_what_the_code_says() -> None:
    schema = manifest.schema("load")
    Draft202012Validator.check_schema(schema)
    assert set(schema["$defs"]["settings"]["properties"]) == {field.name for field in fields(Settings)}

    def objects(part: Any) -> Iterator[Any]:
        if isinstance(part, dict) and "properties" in part and part.get("type") == "object":
            yield part
        for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
            yield from objects(inner)

    found = list(objects(schema))
    assert len(found) == 13
    for one in found:
        assert one["additionalProperties"] is False
        assert set(one["required"]) == set(one["properties"])


def test_no_more_answers_are_kept_than_there_is_room_for(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_load_subject, "MOST_BYTES", 3 * 4 * bundles.CLASSES)
    loaded = _load_subject.Loaded()
    assert loaded.open(str(work.runner.bundle), str(work.samples.folder)) == 8
    assert loaded.rest(str(work.scratch / "few"), 8) == 3
    assert np.load(work.scratch / "few" / "0.npy").shape == (3, bundles.CLASSES)
    loaded.bundle.close()
