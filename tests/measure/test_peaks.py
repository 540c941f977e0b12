"""What a machine can do at most: measured once, plausible, and never taken from a table."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hasten import _core, find
from hasten.errors import InputError, MissingError
from hasten.measure import peaks as module
from hasten.measure.flops import count
from hasten.measure.peaks import KINDS, Kind, network, operations, peaks
from hasten.model import OnnxModel

GB = 1e9


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("int8", [False, True])
def test_the_network_does_what_is_divided_by(kind: Kind, int8: bool) -> None:
    counted = count(OnnxModel(network(kind, int8)))
    assert (counted.unknown, 2 * counted.macs) == ((), operations(kind))
    assert counted.integer_operations == (operations(kind) if int8 else 0)


@pytest.mark.parametrize("kind", KINDS)
def test_every_engine_runs_it_in_int8(kind: Kind) -> None:
    """Or its peak would be that of another precision."""
    model = OnnxModel(network(kind, int8=True))
    shape = tuple(int(n) for n in model.signature.inputs[0].shape[1:])
    for name in ("onnxruntime", "openvino"):
        with find.engine(name)(threads=1).compile(model) as session:
            assert session.int8_share() == 1.0, name
            assert np.isfinite(session({"x": np.ones((1, *shape), np.float32)})["y"]).all()


def test_they_are_measured_once_and_a_peak_is_the_most_that_was_seen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HASTEN_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "ROUNDS", 1)
    monkeypatch.setattr(module, "READ_S", 0.02)
    found = peaks(1)
    assert {"f32", "int8"} <= set(found.operations)
    assert all(GB < rate < 1e5 * GB for rate in found.operations.values())
    assert list(found.read) == list(found.copy) == [*found.holds, "memory"]
    assert all(0.1 * GB < rate < 1e4 * GB for rate in (*found.read.values(), *found.copy.values()))
    asked = []

    def now(threads: int, only: dict[str, str]) -> tuple[dict[str, float], dict[str, str]]:
        asked.append(only)
        return {"f32": 2 * found.operations["f32"], "int8": found.operations["int8"] / 2}, only

    tried = module._operations
    monkeypatch.setattr(module, "_operations", now)
    most = dict(found.operations) | {"f32": 2 * found.operations["f32"]}
    assert peaks(1) == replace(found, operations=most)
    assert asked == [found.layers]
    monkeypatch.setattr(module, "_operations", lambda threads, only: ({}, {}))
    assert peaks(1).operations == most  # remembered, and nothing that is slower replaces it
    rates, layers = tried(1, {"f32": found.layers["f32"]})
    assert layers == {"f32": found.layers["f32"]}
    assert rates["f32"] > GB


def test_what_is_near_is_read_faster() -> None:
    near = max(_core.bandwidth("read", 16 << 10, 1, 0.05) for _ in range(3))
    far = min(_core.bandwidth("read", 512 << 20, 1, 0.2) for _ in range(2))
    assert near > 1.2 * far > 0


def test_no_other_traffic_is_known() -> None:
    with pytest.raises(ValueError, match="it has to be one of read, copy"):
        _core.bandwidth("write", 1024)


def caches(root: Path, processor: int, *known: tuple[str, str, str, str]) -> None:
    for index, texts in enumerate(known):
        folder = root / f"cpu{processor}" / "cache" / f"index{index}"
        folder.mkdir(parents=True)
        for name, text in zip(("level", "type", "size", "shared_cpu_list"), texts, strict=True):
            (folder / name).write_text(f"{text}\n")


def test_the_levels_are_those_of_the_processors_in_use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A level is divided among those that have it; the smallest share counts; what cannot be read is left out."""
    monkeypatch.setattr(module.machine, "cpus", lambda threads: [2, 3][:threads])
    caches(tmp_path, 0, ("1", "Data", "8K", "0"))
    for processor, first in ((2, "32K"), (3, "64K")):
        caches(
            tmp_path, processor, ("1", "Data", first, str(processor)), ("1", "Instruction", "32K", str(processor)),
            ("2", "Unified", "1024K", str(processor)), ("3", "Unified", "32M", "0-255"),
        )  # fmt: skip
    (tmp_path / "cpu2" / "cache" / "index9").mkdir()
    assert module.levels(1, tmp_path) == {"L1": 16 << 10, "L2": 512 << 10, "L3": 16 << 20, "memory": 256 << 20}
    assert module.levels(2, tmp_path) == {"L1": 16 << 10, "L2": 512 << 10, "L3": 8 << 20, "memory": 128 << 20}
    for processor in (2, 3):  # a last level each, and large
        (tmp_path / f"cpu{processor}" / "cache" / "index3" / "shared_cpu_list").write_text(str(processor))
        (tmp_path / f"cpu{processor}" / "cache" / "index3" / "size").write_text("64M")
    assert module.levels(2, tmp_path)["memory"] == 4 * (64 << 20)
    assert module.levels(1, tmp_path / "none") == {"memory": 256 << 20}


def test_several_threads_read_together() -> None:
    assert _core.bandwidth("copy", 1 << 20, 3, 0.05) > 0.1 * GB


def test_an_engine_that_fails_has_no_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refused:
        def __init__(self, entrant: object, feed: Path) -> None:
            raise InputError("it does not want to", "ask again")

    monkeypatch.setattr(module, "Stand", Refused)
    with pytest.raises(MissingError, match="no engine here could run"):
        module._operations(1)
