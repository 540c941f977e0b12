"""Images of several shapes in one job, where the network takes them; and of odd names."""

import os
from pathlib import Path
from typing import Any

import bundles
import numpy as np
import pytest
from onnx import helper
from PIL import Image
from test_job import errors, rows

from hasten.answer import Answer
from hasten.bundle import Bundle
from hasten.data import Data
from hasten.offline import hand, job, output, sweep
from hasten.offline.inputs import listed
from hasten.offline.reader import Reader
from hasten.pipeline import Pipeline
from hasten.prepare import Prepare
from hasten.stage import Stage

SIZES = (5, 5, 7, 5, 7, 7)  # of the images, again and again


@pytest.fixture
def free(tmp_path: Path) -> Path:
    """A bundle that takes images of any size: which colour is strongest."""
    nodes = [helper.make_node("ReduceMean", ["image"], ["logits"], axes=[2, 3], keepdims=0)]
    file = bundles.save(tmp_path / "n.onnx", nodes, {"image": ["N", 3, "H", "W"]}, {"logits": ["N", 3]}, {})
    raw = np.random.default_rng(0).integers(0, 256, (20, 6, 6, 3), np.uint8)
    pipeline = Pipeline({"image": Prepare("image")}, answer=Answer("classes"))
    bundles.make(
        tmp_path / "free", stages=[Stage.of(file, bundles.engine())], pipeline=pipeline, cases=Data({"image": raw})
    ).close()  # fmt: skip
    return tmp_path / "free"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder, rng = tmp_path / "photos", np.random.default_rng(1)
    folder.mkdir()
    for i in range(24):
        pixels = rng.integers(0, 256, (SIZES[i % len(SIZES)], 6, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02d}.png")
    return folder


def test_samples_of_one_shape_are_together(free: Path, photos: Path) -> None:
    (photos / "05.png").write_bytes(b"")
    with Bundle.load(free) as whole:
        good, bad = Reader(whole.signature, whole.pipeline, prepared=False).load(listed([str(photos)])[:8])
    assert [positions for positions, _ in good] == [[0, 1], [2], [3], [4], [6, 7]]
    assert [tensors["image"].shape[2] for _, tensors in good] == [5, 7, 5, 7, 5]
    assert list(bad) == [5]


def test_each_is_answered_as_alone(free: Path, photos: Path, tmp_path: Path) -> None:
    job.run(free, [str(photos)], tmp_path / "out", job.Options(tensors=True, tta="hflip"))
    assert not errors(tmp_path / "out")
    with Bundle.load(free) as whole:
        wanted = [whole.run({"image": np.asarray(Image.open(p))[None]})["logits"][0] for p in sorted(photos.iterdir())]
    assert np.allclose([r["logits"] for r in rows(tmp_path / "out")], wanted, atol=1e-3)


def test_a_worker_that_dies_of_one(free: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hand, "WORKER", "dying:Wide")
    Image.fromarray(np.zeros((5, 9, 3), np.uint8)).save(photos / "07.png")
    assert job.run(free, [str(photos)], tmp_path / "out")["rows"] == 23
    assert set(errors(tmp_path / "out")) == {str(photos / "07.png")}


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_names_that_are_not_utf8(free: Path, photos: Path, tmp_path: Path, form: Any) -> None:
    """Of a sample with an answer, and of one without."""
    odd = [photos / os.fsdecode(b"\xff.png"), photos / os.fsdecode(b"\xfe.png")]
    (photos / "00.png").rename(odd[0])
    odd[1].write_bytes(b"")
    result = job.run(free, [str(photos)], tmp_path / "out", job.Options(form))
    assert (result["rows"], result["errors"]) == (24, 1)
    assert f"{photos}/\\xff.png" in list(output.ids(tmp_path / "out" / f"part-000000.{form}", form))
    ((name, reason),) = errors(tmp_path / "out").items()
    assert name == f"{photos}/\\xfe.png"
    assert name in reason


def test_a_sweep_is_of_one_shape(free: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "RATE_S", 0.02)
    opened = {"bundle": str(free), "form": "jsonl", "prepared": False, "tensors": False}
    assert sweep.sweep(opened, [tuple(p) for p in listed([str(photos)])])["per_s"] > 0
