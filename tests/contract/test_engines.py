"""The contract of engines: every file in the folder goes through this suite, in every variant of its settings."""

import ast
import contextlib
import dataclasses
import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from engine_networks import WEIGHT, fixed, mixed, mixed_feed, mixed_oracle, quantized
from onnx import TensorProto, helper

from hasten import find
from hasten.engine import Engine
from hasten.errors import InputError, MissingError
from hasten.model import Arrays, Model, OnnxFile, OnnxModel
from hasten.task import Task

# Largest difference from the oracle, as a share of the largest value. f32: sums in another order, some hundred terms at
# 2^-24 each. bf16: 8 bits of mantissa, 2^-9 a rounding, on the inputs of a few layers.
TOLERANCE = {"f32": 1e-5, "bf16": 3e-2}
PRECISIONS = {"f32", "bf16", "f16", "f64", "i8"}
VARIANTS = {
    str(dataclasses.replace(engine, threads=0)): dataclasses.replace(engine, threads=1)
    for kind in find.engines().values()
    if kind.missing() is None
    for engine in (*kind.variants(False), *kind.variants(True))
}
each_variant = pytest.mark.parametrize("engine", VARIANTS.values(), ids=VARIANTS.keys())
each_engine = pytest.mark.parametrize("kind", find.engines().values(), ids=find.engines().keys())


@pytest.fixture
def tiny(tiny_task: Task, tiny_onnx: Path) -> Callable[[str], Model | OnnxFile]:
    """The trained network of the other tests, as the kind of model that an engine takes."""
    return lambda takes: tiny_task.original if takes == "torch" else OnnxFile(tiny_onnx, tiny_task.original.signature)


def assert_close(engine: Engine, got: Arrays, expected: Arrays) -> None:
    assert list(got) == list(expected) or set(got) == set(expected)
    for name, right in expected.items():
        assert got[name].dtype == right.dtype
        assert got[name].shape == right.shape
        if right.dtype.kind == "f":
            largest = np.abs(right).max(initial=0)
            np.testing.assert_allclose(got[name], right, rtol=0, atol=TOLERANCE[engine.precision] * largest + 1e-7)
        else:
            np.testing.assert_array_equal(got[name], right)


# ---- answers ----


@each_variant
@pytest.mark.parametrize("batch", [1, 3, 8])
def test_answers_as_torch_does(engine: Engine, batch: int, tiny: Callable[[str], Model], tiny_task: Task) -> None:
    from hasten.engines.torch import call

    feed = next(tiny_task.split("test").batches(batch))
    with engine.compile(tiny(engine.takes)) as session:
        answer = session(feed)
    expected = call(tiny_task.original.module, feed)
    assert_close(engine, answer, expected)
    assert np.abs(expected["output"]).max() > 0.5, "the tolerance is relative to something"


@each_variant
@pytest.mark.parametrize("batch", [1, 3])
def test_every_kind_of_input_and_output(engine: Engine, batch: int) -> None:
    feed = mixed_feed(batch)
    with engine.compile(mixed(engine.takes)) as session:
        assert_close(engine, session(feed), mixed_oracle(feed))


@each_variant
def test_batch_may_change_from_call_to_call(engine: Engine) -> None:
    with engine.compile(mixed(engine.takes)) as session:
        for batch in (2, 5, 1, 5):
            feed = mixed_feed(batch, seed=batch)
            assert_close(engine, session(feed), mixed_oracle(feed))


@each_variant
def test_fixed_batch(engine: Engine) -> None:
    x = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    with engine.compile(fixed(engine.takes)) as session:
        assert_close(engine, session({"x": x}), {"output": x @ WEIGHT})
        with pytest.raises(InputError, match=r"'x' has shape \[3, 4\]"):
            session({"x": np.zeros((3, 4), np.float32)})


@each_variant
def test_same_feed_gives_the_same_answer(engine: Engine, tiny: Callable[[str], Model], tiny_task: Task) -> None:
    feed, other = list(tiny_task.split("test").batches(4))[:2]
    with engine.compile(tiny(engine.takes)) as session:
        first, _, again = session(feed), session(other), session(feed)
        for name, array in first.items():
            np.testing.assert_array_equal(array, again[name])


@each_variant
def test_answers_outlive_later_calls_and_the_session(engine: Engine) -> None:
    with engine.compile(mixed(engine.takes)) as session:
        answer = session(mixed_feed(2))
        kept = {name: array.copy() for name, array in answer.items()}
        session(mixed_feed(2, seed=1))
        session(mixed_feed(4000, seed=2))
    session.close()  # harmless when repeated
    for name, array in answer.items():
        np.testing.assert_array_equal(array, kept[name])


@each_variant
def test_feed_may_be_read_only_strided_and_in_any_order(engine: Engine) -> None:
    feed, wide = mixed_feed(3), np.zeros((3, 3, 8), np.float32)
    wide[:, :, ::2] = feed["image"]
    feed["ids"].setflags(write=False)
    with engine.compile(mixed(engine.takes)) as session:
        assert_close(engine, session({"ids": feed["ids"], "image": wide[:, :, ::2]}), mixed_oracle(feed))


@each_variant
def test_no_samples_are_answered_or_refused(engine: Engine) -> None:
    with engine.compile(mixed(engine.takes)) as session:
        with contextlib.suppress(InputError):
            assert_close(engine, session(mixed_feed(0)), mixed_oracle(mixed_feed(0)))
        assert_close(engine, session(mixed_feed(2)), mixed_oracle(mixed_feed(2)))


# ---- the door ----


@each_variant
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"picture": np.zeros(1)}, "'picture'"),
        ({"image": np.zeros((2, 3, 4))}, "'image' is float64; float32 is expected"),
        ({"ids": np.zeros((2, 2), np.int32)}, "'ids' is int32; int64 is expected"),
        ({"image": np.zeros((2, 3, 5), np.float32)}, "'image' has shape [2, 3, 5]"),
        ({"image": np.zeros((2, 3), np.float32)}, "'image' has shape [2, 3]"),
        ({"ids": np.zeros((3, 2), np.int64)}, "'ids' has shape [3, 2]"),
    ],
)
def test_door_refuses(engine: Engine, change: dict[str, np.ndarray], said: str) -> None:
    with engine.compile(mixed(engine.takes)) as session, pytest.raises(InputError, match=re.escape(said)):
        session(mixed_feed(2) | change)


@each_variant
def test_door_refuses_a_missing_input(engine: Engine) -> None:
    with engine.compile(mixed(engine.takes)) as session, pytest.raises(InputError, match="ids int64"):
        session({"image": mixed_feed(2)["image"]})


@each_variant
def test_other_kind_of_model_is_refused(engine: Engine) -> None:
    other = "torch" if engine.takes == "onnx" else "onnx"
    with pytest.raises(InputError, match=f"takes a {engine.takes} model; export it first"):
        engine.compile(fixed(other))


@each_variant
def test_unusable_model_is_refused_in_one_sentence(engine: Engine) -> None:
    if engine.takes == "torch":
        pytest.skip("a module runs as it is: there is nothing to refuse")
    odd = helper.make_graph(
        [helper.make_node("Frobnicate", ["x"], ["output"], domain="nobody")], "odd",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1])],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("nobody", 1)]
    with pytest.raises(InputError, match="Frobnicate") as refusal:
        engine.compile(OnnxModel(helper.make_model(odd, opset_imports=opsets, ir_version=9)))
    assert "\n" not in str(refusal.value)


# ---- what it says of itself ----


@each_engine
def test_missing_engine_says_how_to_install(kind: type[Engine], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: None)
    reason = kind.missing()
    if reason is None:  # then it needs no package of its own, and runs
        kind().compile(fixed(kind.takes)).close()
        return
    assert "pip install" in reason
    with pytest.raises(MissingError, match="pip install"):
        kind().compile(fixed(kind.takes))


def test_looking_for_engines_imports_none_of_them() -> None:
    script = (
        "import sys; from hasten import find\n"
        "for e in find.engines().values(): e.missing() or e.version()\n"
        "print(sorted({'torch', 'onnxruntime', 'openvino', 'onnx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@each_engine
def test_version_and_variants(kind: type[Engine]) -> None:
    if kind.missing():
        pytest.skip(str(kind.missing()))
    assert re.match(r"\d+\.\d+", kind.version())
    for variants in (kind.variants(False), kind.variants(True)):
        assert variants
        assert len(set(variants)) == len(variants)
        assert all(isinstance(v, kind) and v.threads == 0 and v.precision in TOLERANCE for v in variants)
    assert set(kind.variants(False)) <= set(kind.variants(True)), "INT8 is one choice more, never one fewer"


@each_variant
def test_settings_are_frozen_and_hashable(engine: Engine) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        engine.threads = 2  # type: ignore[misc]
    assert {engine: 1}[dataclasses.replace(engine)] == 1
    assert dataclasses.replace(engine, threads=7) != engine


@each_variant
def test_settings_are_read_back_from_the_text(engine: Engine) -> None:
    name, said = re.fullmatch(r"(\w+)(?:\((.*)\))?", str(engine)).groups()
    pairs = [part.split("=") for part in said.split(", ")] if said else []
    settings = {k: ast.literal_eval(v) if re.fullmatch(r"\d+|True|False", v) else v for k, v in pairs}
    assert find.engine(name)(**settings) == engine


# ---- what it really executes ----


@each_variant
def test_layers_say_their_precision(engine: Engine, tiny: Callable[[str], Model]) -> None:
    with engine.compile(tiny(engine.takes)) as session:
        layers, share = session.compiled.layers(), session.int8_share()
    heavy = [layer for layer in layers if layer.heavy]
    assert {layer.precision for layer in heavy} <= {engine.precision}
    assert len(heavy) == 3 if layers else share is None, "two convolutions and a matrix product"
    assert share in (0, None)


@each_variant
def test_its_account_of_the_layers_adds_up(engine: Engine, tiny: Callable[[str], Model], tiny_task: Task) -> None:
    """Or it has none, as it shows no layers; it leaves the session as it was."""
    feed = next(tiny_task.sample().batches(1))
    with engine.compile(tiny(engine.takes)) as session:
        before = session(feed)
        kept = session.compiled.profile(feed, 20)
        assert all(np.array_equal(session(feed)[name], array) for name, array in before.items())
        shown = session.compiled.layers()
    assert (kept is None) == (not shown)
    if kept is None:
        return
    assert sum(layer.heavy for layer, _ in kept.spent) == 3
    assert all(layer.of or not layer.heavy for layer, _ in kept.spent)
    assert 0 <= sum(ms for _, ms in kept.spent) < 1.5 * kept.call_ms


@each_engine
def test_int8_is_seen_in_the_executed_graph(kind: type[Engine]) -> None:
    if kind.takes == "torch" or kind.missing():
        pytest.skip("reads no QDQ graph here")
    with kind(threads=1).compile(quantized()) as session:
        x = np.random.default_rng(0).normal(size=(2, 8, 8, 8)).astype(np.float32)
        assert np.unique(session({"x": x})["y"]).size <= 256
        heavy = [layer for layer in session.compiled.layers() if layer.heavy]
        assert session.int8_share() == (1.0 if heavy else None)
