"""Bundles for the tests of load: one that answers, one that fails on a sample, and a preset of a moment."""

from dataclasses import replace
from pathlib import Path

import bundles
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hasten.bundle import Bundle
from hasten.data import Data
from hasten.find import engine
from hasten.measure._load_settings import QUICK
from hasten.pipeline import Pipeline
from hasten.stage import Stage

MOMENT = replace(QUICK, seconds=0.3, warm_s=0.05)
ROWS = 4  # of the table that `lookup` looks into


def lookup(folder: Path) -> Bundle:
    """index i64 [N] -> a row of a table [N, 3]: a number that is not below ROWS makes the engine fail."""
    table = np.random.default_rng(0).normal(size=(ROWS, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "index"], ["row"])],
        "lookup",
        [helper.make_tensor_value_info("index", TensorProto.INT64, ["N"])],
        [helper.make_tensor_value_info("row", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(table, "table")],
    )
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "lookup.onnx"
    )
    stage = Stage.of(folder / "lookup.onnx", engine("onnxruntime")(threads=1))
    cases = Data({"index": np.arange(16, dtype=np.int64) % ROWS})
    return bundles.make(folder / "lookup.bundle", stages=[stage], pipeline=Pipeline(), cases=cases)
