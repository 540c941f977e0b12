"""The survey: one engine that fails leaves the others measured; samples are made only where their size is known."""

from pathlib import Path

import bundles
import numpy as np
import pytest

from hasten import find
from hasten.errors import InputError
from hasten.measure.survey import random_samples, survey
from hasten.model import OnnxModel, Signature, Tensor


def test_an_engine_that_cannot_run_it_says_why(tmp_path: Path) -> None:
    model = OnnxModel.load(bundles.whole(tmp_path / "whole.onnx"))
    bundles.samples().save(tmp_path / "feed")
    engines = [find.engine("torch")(threads=1), find.engine("onnxruntime")(threads=1)]
    first, second = survey(model, engines, tmp_path / "feed")
    assert first == {"engine": "torch(threads=1)", "reason": "torch runs torch models; give a task file"}
    assert second["reason"] == ""
    assert second["latency_p50_ms"] > 0
    assert second["params"] == bundles.FEATURES * bundles.HIDDEN + bundles.HIDDEN * bundles.CLASSES == second["macs"]


def test_nobody_left_is_no_fault(tmp_path: Path) -> None:
    model = OnnxModel.load(bundles.whole(tmp_path / "whole.onnx"))
    (row,) = survey(model, [find.engine("torch")(threads=1)], tmp_path)
    assert row["reason"]


def signature(*tensors: Tensor) -> Signature:
    return Signature(tensors, ())


def test_samples_have_the_shapes_and_types_of_the_signature() -> None:
    asked = signature(
        Tensor("image", "float32", ("N", 3, 4)), Tensor("ids", "int64", ("N", 7)), Tensor("on", "bool", (2,))
    )
    made = random_samples(asked, 3)
    assert {k: (v.dtype.name, v.shape[1:]) for k, v in made.inputs.items()} == {
        "image": ("float32", (3, 4)), "ids": ("int64", (7,)), "on": ("bool", ())
    }  # fmt: skip
    assert not made.inputs["ids"].any()
    np.testing.assert_array_equal(made.inputs["image"], random_samples(asked, 3).inputs["image"])
    assert (made.inputs["image"] != random_samples(asked, 4).inputs["image"]).any()


def test_a_size_that_nobody_knows_is_asked_for() -> None:
    with pytest.raises(InputError, match=r"--data F\.npz"):
        random_samples(signature(Tensor("ids", "int64", ("N", "T"))), 0)
    with pytest.raises(InputError, match="takes no inputs"):
        random_samples(signature(), 0)
