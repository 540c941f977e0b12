"""The number of threads: which are tried, which wins, and that it is measured once."""

import json
from pathlib import Path

import pytest

from hasten import files
from hasten.measure import machine, threads
from hasten.measure.threads import beside, best_threads, candidates, fewest


@pytest.mark.parametrize(
    ("most", "expected"),
    [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (4, [1, 2, 4]), (6, [1, 2, 4, 6]), (16, [1, 2, 4, 8, 16])],
)
def test_powers_of_two_and_all(most: int, expected: list):
    assert candidates(most) == expected


@pytest.mark.parametrize(
    ("number", "most", "expected"), [(1, 1, []), (1, 2, [2]), (2, 2, [1]), (2, 6, [1, 4]), (6, 6, [4])]
)
def test_the_numbers_beside_one(number: int, most: int, expected: list):
    assert beside(number, most) == expected


@pytest.mark.parametrize(
    ("p50_ms", "expected"), [([3.0, 2.0, 1.0], 4), ([1.0, 1.0, 0.98], 1), ([1.0, 0.9, 0.95], 2), ([1.0, 2.0, 3.0], 1)]
)
def test_the_fewest_that_tie_with_the_best(p50_ms: list, expected: int):
    assert fewest(p50_ms, [1, 2, 4]) == expected


@pytest.fixture
def sweeps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Four processors, a cache of this test's own, and a sweep that writes down that it ran and finds 2."""
    monkeypatch.setenv("HASTEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(machine, "threads", lambda: 4)
    ran: list[list[int]] = []

    def sweep(model, engine, settings, feed, numbers):
        ran.append(numbers)
        return 2

    monkeypatch.setattr(threads, "_sweep", sweep)
    return ran


def test_it_is_measured_once(sweeps: list, net: Path, feed: Path):
    for _ in range(3):
        assert best_threads(net, "onnxruntime", {"threads": 7}, feed) == 2
    assert sweeps == [[1, 2, 4]]
    assert list(json.loads((files.cache_folder() / "threads.json").read_text()).values()) == [2]


def test_another_model_engine_setting_or_machine_is_measured_again(
    sweeps: list, net: Path, feed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    other = tmp_path / "other.onnx"
    other.write_bytes(net.read_bytes() + b"\n")
    best_threads(net, "onnxruntime", {}, feed)
    best_threads(other, "onnxruntime", {}, feed)
    best_threads(net, "openvino", {}, feed)
    best_threads(net, "openvino", {"hint": "bf16"}, feed)
    monkeypatch.setattr(machine, "fingerprint", lambda: "another machine")
    best_threads(net, "onnxruntime", {}, feed)
    assert len(sweeps) == 5


def test_a_damaged_cache_is_measured_again(sweeps: list, net: Path, feed: Path):
    for text in ("{", "[1, 2]"):
        files.write(files.cache_folder() / "threads.json", text)
        assert best_threads(net, "onnxruntime", {}, feed) == 2
    assert len(sweeps) == 2


def test_a_number_that_this_machine_no_longer_has_is_measured_again(
    sweeps: list, net: Path, feed: Path, monkeypatch: pytest.MonkeyPatch
):
    best_threads(net, "onnxruntime", {}, feed)
    cache = files.cache_folder() / "threads.json"
    cache.write_text(cache.read_text().replace(": 2", ": 64"))
    assert best_threads(net, "onnxruntime", {}, feed) == 2
    assert len(sweeps) == 2


def test_one_processor_needs_no_sweep(sweeps: list, net: Path, feed: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, "threads", lambda: 1)
    assert best_threads(net, "onnxruntime", {}, feed) == 1
    assert not sweeps


def test_a_real_sweep(net: Path, feed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("HASTEN_CACHE", str(tmp_path / "cache"))
    numbers = candidates(machine.threads())
    assert best_threads(net, "onnxruntime", {}, feed) in numbers
    assert files.remembered(threads._cache()) or len(numbers) == 1
