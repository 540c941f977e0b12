"""What differs is found by name: planted faults, engines that disagree, rewritten and quantized files, bundles."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from bundles import encoder, head, pool, samples, whole
from graphs import model
from onnx import helper, numpy_helper

from deep import deep
from hasten import find
from hasten.answer import Answer
from hasten.bundle import Bundle
from hasten.data import Data
from hasten.diagnose.differ import layers
from hasten.diagnose.differ.cut import Graph, reads
from hasten.diagnose.differ.differ import differ
from hasten.diagnose.differ.distance import MOST, agreement, distance
from hasten.diagnose.differ.pairs import Pairs
from hasten.diagnose.differ.result import Difference
from hasten.diagnose.differ.side import Side, of_bundle, of_task
from hasten.engine import Engine
from hasten.errors import InputError
from hasten.measure.survey import random_samples
from hasten.model import OnnxModel
from hasten.pipeline import Pipeline, Window
from hasten.provenance import label
from hasten.stage import Stage
from hasten.task import Task
from tampered import KINDS, plant

ORT, OPENVINO = find.engine("onnxruntime")(threads=1), find.engine("openvino")(threads=1)


def side(proto: onnx.ModelProto, name: str = "net", engine: Engine = ORT) -> Side:
    made = OnnxModel(label(proto))
    return Side(name, engine, made.signature, made, engine)


def between(a: Side, b: Side, folder: Path, data: Data | None = None, **more: Any) -> Difference:
    return differ(a, b, data or random_samples(a.signature, 0).take(slice(0, 8)), folder / "runs", **more)


@pytest.fixture(scope="module")
def net() -> onnx.ModelProto:
    return deep(2).proto


def quantized(proto: onnx.ModelProto) -> onnx.ModelProto:
    """With Q and DQ in front of every convolution, at scales that cut nothing off."""
    entering = [node.input[0] for node in proto.graph.node if node.op_type == "Conv"]
    session = onnxruntime.InferenceSession(
        Graph(OnnxModel(proto)).also(t for t in entering if t != "x").SerializeToString()
    )
    feed = random_samples(OnnxModel(proto).signature, 0).inputs
    seen = dict(feed) | dict(zip([o.name for o in session.get_outputs()], session.run(None, feed), strict=True))
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    made.graph.initializer.append(numpy_helper.from_array(np.uint8(128), "zero"))
    nodes = list(made.graph.node)
    del made.graph.node[:]
    for node in nodes:
        if node.op_type == "Conv":
            t = node.input[0]
            made.graph.initializer.append(
                numpy_helper.from_array(np.float32(np.abs(seen[t]).max() / 127), f"{node.name}.step")
            )
            ends = [f"{node.name}.step", "zero"]
            made.graph.node.append(helper.make_node("QuantizeLinear", [t, *ends], [f"{node.name}.q"], f"{node.name}.Q"))
            made.graph.node.append(
                helper.make_node("DequantizeLinear", [f"{node.name}.q", *ends], [f"{node.name}.dq"], f"{node.name}.DQ")
            )
            node.input[0] = f"{node.name}.dq"
        made.graph.node.append(node)
    return made


@pytest.mark.parametrize("kind", ["a weight nudged", "a softmax over another axis"])
def test_a_planted_fault_is_found(kind: str, net: onnx.ModelProto, tmp_path: Path) -> None:
    bad, planted = plant(net, kind)
    found = between(side(net), side(bad), tmp_path)
    assert not found.same
    assert found.cause == "layer"
    assert found.first is not None
    assert planted in found.first.nodes
    assert found.first.module == planted
    assert [layer for layer in found.layers if layer.own > found.tolerance] == [found.first]
    assert found.first.arrives == 0
    assert planted in found.verdict


def test_faults_of_nine_kinds_are_found_at_once(net: onnx.ModelProto, tmp_path: Path) -> None:
    """No error of one layer is held against another."""
    bad, names = net, list[str]()
    for place, kind in enumerate(kind for kind in KINDS if kind not in ("a bound halved", "a bad Q scale")):
        bad, planted = plant(bad, kind, place / 8)
        names.append(planted)
    assert len(set(names)) == 9
    found = between(side(net), side(bad), tmp_path)
    assert {layer.module for layer in found.layers if layer.own > found.tolerance} == set(names)
    assert found.first is not None
    assert found.first.module == next(node.name for node in net.graph.node if node.name in names)


def test_what_is_the_same_is_the_same_layer_by_layer(net: onnx.ModelProto, tmp_path: Path) -> None:
    found = between(side(net), side(net, engine=OPENVINO), tmp_path)
    assert found.same
    assert found.first is None
    assert found.cause == "none"
    assert len(found.layers) == len(net.graph.node)
    assert 0 < max(layer.own for layer in found.layers) < 1e-5
    assert found.alone == ([], [])


def test_memory_is_bounded_by_chunks(net: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad, planted = plant(net, "a dropped bias", 0.0)
    held: list[int] = []
    at = layers.Trace.at

    def watched(trace: layers.Trace, tensors: Any) -> Any:
        held.append(len(set(tensors)))
        return at(trace, tensors)

    monkeypatch.setattr(layers.Trace, "at", watched)
    monkeypatch.setattr(layers, "CHUNK_LAYERS", 20)
    found = between(side(net), side(bad), tmp_path)
    assert found.first is not None
    assert planted in found.first.nodes
    assert len(held) >= 8  # two sides, four chunks
    assert max(held) <= 45
    assert not [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]


def test_a_bad_scale_is_found_beside_the_floats(net: onnx.ModelProto, tmp_path: Path) -> None:
    good = quantized(net)
    bad, planted = plant(good, "a bad Q scale")
    assert between(side(net), side(good), tmp_path / "good").first is None
    found = between(side(bad), side(net), tmp_path)
    assert found.ref.model is not None
    assert not found.ref.model.quantized  # though it came second
    assert found.tolerance == 2**-5
    assert found.first is not None
    assert planted in found.first.nodes
    assert found.first.ops == ("QuantizeLinear", "DequantizeLinear")


def test_openvino_ignores_antialias_in_silence(tmp_path: Path) -> None:
    """ONNX Runtime honours it."""
    constants = {"w": np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)}
    constants["sizes"] = np.array([1, 4, 16, 16])
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1] * 4, name="stem"),
        helper.make_node("Resize", ["c", "", "", "sizes"], ["r"], mode="linear", antialias=1, name="shrink"),
        helper.make_node("Relu", ["r"], ["y"], name="act"),
    ]
    proto = model(nodes, {"x": (1, 3, 64, 64)}, {"y": (1, 4, 16, 16)}, constants, opset=18)
    found = between(side(proto), side(proto, engine=OPENVINO), tmp_path)
    assert not found.same
    assert found.first is not None
    assert found.first.nodes == ("shrink",)


def renamed(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Other names for all but the ends, as if seven nodes stood in front: those that were there before mean others."""
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    graph = made.graph
    ends = {v.name for v in (*graph.input, *graph.output)}
    made_by = [t for node in graph.node for t in node.output]
    names = {t: f"t{n + 7 if f't{n + 7}' not in ends else 0}" for n, t in enumerate(made_by) if t not in ends}
    names |= {w.name: f"constant{n}" for n, w in enumerate(graph.initializer)}
    for node in graph.node:
        node.name = f"node{len(node.name)}_{node.output[0]}"
        node.input[:] = [names.get(t, t) for t in node.input]
        node.output[:] = [names.get(t, t) for t in node.output]
    for weight in graph.initializer:
        weight.name = names[weight.name]
    return made


def test_names_that_lie_are_not_believed(net: onnx.ModelProto, tmp_path: Path) -> None:
    bad, planted = plant(net, "a swapped activation")
    other = renamed(bad)
    place = next(i for i, node in enumerate(bad.graph.node) if node.name == planted)
    found = between(side(net), side(other), tmp_path)
    assert found.first is not None
    assert found.first.nodes == (other.graph.node[place].name,)
    assert len(found.layers) == len(net.graph.node)


def folded(proto: onnx.ModelProto, keep: str) -> onnx.ModelProto:
    """Batch norms inside the convolutions before them, whose outputs keep the name of `keep`: conv or norm."""
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    graph, arrays = made.graph, {w.name: numpy_helper.to_array(w) for w in made.graph.initializer}
    by_output = {node.output[0]: node for node in graph.node}
    for norm in [n for n in graph.node if n.op_type == "BatchNormalization"]:
        conv = by_output[norm.input[0]]
        gain, bias, mean, spread = (arrays[name] for name in norm.input[1:])
        gain = gain / np.sqrt(spread + 1e-5)
        weights = [arrays[conv.input[1]] * gain[:, None, None, None], (arrays[conv.input[2]] - mean) * gain + bias]
        for place, array in enumerate(weights, 1):
            name = f"{conv.name}.folded{place}"
            graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), name))
            conv.input[place] = name
        graph.node.remove(norm)
        old, new = (norm.output[0], conv.output[0]) if keep == "conv" else (conv.output[0], norm.output[0])
        for node in graph.node:
            node.input[:] = [new if t == old else t for t in node.input]
            node.output[:] = [new if t == old else t for t in node.output]
    return made


@pytest.mark.parametrize(("keep", "turned"), [("conv", False), ("conv", True), ("norm", False)])
def test_a_folded_norm_is_no_difference(keep: str, turned: bool, net: onnx.ModelProto, tmp_path: Path) -> None:
    two = [side(net), side(folded(net, keep))]
    found = between(*(two[::-1] if turned else two), tmp_path)
    assert found.same
    assert found.first is None
    assert [len(tensors) for tensors in found.alone] == ([0, 4] if turned else [4, 0])


def test_a_fault_is_found_beside_a_folded_norm(net: onnx.ModelProto, tmp_path: Path) -> None:
    bad, planted = plant(folded(net, "conv"), "a swapped activation")
    found = between(side(net), side(bad), tmp_path)
    assert found.first is not None
    assert planted in found.first.nodes


WRONG = '''
import dataclasses

from hasten.engines.onnxruntime import OnnxRuntime, _Session
from hasten.model import OnnxModel


@dataclasses.dataclass(frozen=True)
class Wrongly(OnnxRuntime):
    """Fuses a MaxPool into the Resize before it, and forgets what it is for."""

    def _compile(self, model):
        proto = OnnxModel.load(model.path).proto
        by_output = {t: n for n in proto.graph.node for t in n.output}
        for node in proto.graph.node:
            if node.op_type == "MaxPool" and getattr(by_output.get(node.input[0]), "op_type", "") == "Resize":
                node.op_type = "AveragePool"
        return _Session(self, OnnxModel(proto))


Wrongly.__module__ = "wrongly"
'''


@pytest.fixture
def wrongly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An engine whose fusing is wrong, added by another package: children find it as well."""
    (tmp_path / "wrongly.py").write_text(WRONG)
    info = tmp_path / "wrongly-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: wrongly\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[hasten]\nwrongly = wrongly:Wrongly\n")
    monkeypatch.syspath_prepend(tmp_path)
    find.engines.cache_clear()
    yield find.engine("wrongly")(threads=1)
    monkeypatch.undo()
    find.engines.cache_clear()
    sys.modules.pop("wrongly", None)


@pytest.mark.parametrize("turned", [False, True], ids=["asked", "believed"])
def test_fusing_is_named_where_it_is_the_cause(turned: bool, tmp_path: Path, wrongly: Engine) -> None:
    once = deep(1).proto
    two = [side(once, "right"), side(once, "wrong", wrongly)]
    found = between(*(two[::-1] if turned else two), tmp_path)
    assert not found.same
    assert found.cause == "fusing"
    assert found.together is not None
    assert found.together.names == ("blocks.0.up", "blocks.0.down")
    assert found.together.cut <= found.tolerance < found.together.error
    assert found.on_ref == turned
    assert "its fusing is the cause" in found.verdict


def test_small_errors_that_add_up_are_said_to(tmp_path: Path) -> None:
    """Every weight is a little off: each layer by less than the outputs."""
    net = deep(1).proto
    off = onnx.ModelProto()
    off.CopyFrom(net)
    for weight in off.graph.initializer:
        array = numpy_helper.to_array(weight)
        if array.ndim > 1:
            weight.CopyFrom(numpy_helper.from_array((array * np.float32(1.002)), weight.name))
    first = between(side(net), side(off), tmp_path, tolerance=1e-5)
    allowed = 1.1 * max(layer.own for layer in first.layers)
    assert first.outputs[0].error > allowed
    found = between(side(net), side(off), tmp_path / "again", tolerance=allowed)
    assert found.cause == "sum"
    assert found.first is None


def test_a_layer_that_cannot_run_alone_is_told(net: onnx.ModelProto, tmp_path: Path) -> None:
    """Whatever an engine refuses costs one layer, not the comparison."""
    from hasten.diagnose.differ.runner import Runs

    real = Runs.run

    def refusing(runs: Runs, proto: onnx.ModelProto, feed: Any) -> Any:
        if proto.graph.name == "pieces" and any(node.op_type == "Gelu" for node in proto.graph.node):
            raise InputError("no Gelu here")
        return real(runs, proto, feed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Runs, "run", refusing)
        bad, planted = plant(net, "a softmax over another axis", 1.0)
        found = between(side(net), side(bad), tmp_path)
    assert [layer.ops for layer in found.layers if layer.reason] == [("Gelu",)] * 2
    assert found.first is not None
    assert planted in found.first.nodes


def test_a_task_and_its_file(tiny_task: Task, tiny_onnx: Path, tmp_path: Path) -> None:
    torch = of_task(tiny_task, "tiny.py")
    assert torch.engine.takes == "torch"
    bad, planted = plant(OnnxModel.load(tiny_onnx).proto, "a weight nudged")
    for name, proto, good in (("good", OnnxModel.load(tiny_onnx).proto, True), ("bad", bad, False)):
        found = between(side(proto), torch, tmp_path / name, tiny_task.sample())
        assert found.ref is torch  # though it came second
        assert found.same == good
        assert (found.first is None) == good
        assert found.samples == (64, 4)
    assert found.first is not None
    assert planted in found.first.nodes


def test_a_bundle_of_two_stages_and_the_network_it_came_from(tmp_path: Path) -> None:
    stages = [
        Stage.of(encoder(tmp_path / "e.onnx"), ORT, "encoder"),
        Stage.of(head(tmp_path / "h.onnx"), OPENVINO, "head"),
    ]
    answer = Pipeline(answer=Answer("classes"))
    given = {"pipeline": answer, "recipe": "", "measurements": {}, "conditions": {}, "cases": samples()}
    several = of_bundle(Bundle.write(tmp_path / "several", stages=stages, **given))
    origin = side(onnx.load(whole(tmp_path / "whole.onnx")), "whole")
    found = between(several, origin, tmp_path / "a", samples(8))
    assert found.same
    assert found.layers == ()
    assert "its stages run on several engines" in found.why
    stages[1] = Stage.of(stages[1].file, ORT, "head")
    one = of_bundle(Bundle.write(tmp_path / "one", stages=stages, **given))
    assert between(one, origin, tmp_path / "b", samples(8)).layers
    bad, planted = plant(onnx.load(whole(tmp_path / "whole.onnx")), "a swapped activation")
    found = between(one, side(bad), tmp_path / "c", samples(8))
    assert found.first is not None
    assert planted in (*found.first.nodes, found.first.tensor)


def test_a_stage_by_frame_is_reshaped_around(tmp_path: Path) -> None:
    pipeline = Pipeline(window=Window(1.0, 4.0, 1.0), answer=Answer("classes"))
    stages = [
        Stage("encoder", encoder(tmp_path / "e.onnx"), ORT, OnnxModel.load(tmp_path / "e.onnx").signature, "frame"),
        Stage("head", pool(tmp_path / "p.onnx", 4), ORT, OnnxModel.load(tmp_path / "p.onnx").signature, "window"),
    ]
    clips = Data({"x": np.random.default_rng(0).normal(size=(24, 4, 6)).astype(np.float32)})
    made = Bundle.write(
        tmp_path / "b", stages=stages, pipeline=pipeline, recipe="", measurements={}, conditions={}, cases=clips
    )
    video = of_bundle(made)
    assert video.model is not None
    bad, planted = plant(video.model.proto, "a swapped activation")
    assert between(video, side(video.model.proto), tmp_path / "good", clips).same
    found = between(video, side(bad), tmp_path / "bad", clips)
    assert found.first is not None
    assert planted in (*found.first.nodes, found.first.tensor)


def test_networks_that_have_nothing_to_do_with_each_other(net: onnx.ModelProto, tmp_path: Path) -> None:
    nodes = [helper.make_node("Sin", ["x"], ["y"])]
    other = side(model(nodes, {"x": (1, 9)}, {"y": (1, 9)}, {}))
    with pytest.raises(InputError, match="is expected"):
        between(side(net), other, tmp_path)
    two = side(
        model(
            [*nodes, helper.make_node("Cos", ["z"], ["w"])], {"x": (1, 9), "z": (1, 9)}, {"y": (1, 9), "w": (1, 9)}, {}
        )
    )
    with pytest.raises(InputError, match="give two models of the same task"):
        between(other, two, tmp_path)


def test_a_body_takes_its_outer_tensors_along(tmp_path: Path) -> None:
    """The branches of an If read what was made outside."""
    branches = [
        helper.make_graph([helper.make_node(op, ["c"], [f"{op}.out"])], op, [],
                          [helper.make_tensor_value_info(f"{op}.out", 1, None)])
        for op in ("Relu", "Tanh")
    ]  # fmt: skip
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["c"], name="first"),
        helper.make_node("ReduceSum", ["c"], ["s"], keepdims=0, name="sum"),
        helper.make_node("Greater", ["s", "zero"], ["yes"], name="asks"),
        helper.make_node("If", ["yes"], ["i"], then_branch=branches[0], else_branch=branches[1], name="branches"),
        helper.make_node("Sin", ["i"], ["y"], name="last"),
    ]
    weights = {"w": np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32), "zero": np.float32(0)}
    proto = model(nodes, {"x": (2, 4)}, {"y": (2, 4)}, weights)
    assert set(reads(proto.graph.node[3])) == {"yes", "c"}
    bad = onnx.ModelProto()
    bad.CopyFrom(proto)
    bad.graph.node[3].attribute[0].g.node[0].op_type = bad.graph.node[3].attribute[1].g.node[0].op_type = "Sigmoid"
    found = between(side(proto), side(bad), tmp_path)
    assert found.first is not None
    assert "branches" in found.first.nodes


def test_pairs_survive_a_block_that_is_gone() -> None:
    """Names that are numbered anew look right and are wrong: the weights say so."""
    long, short = (Graph(OnnxModel(label(p))) for p in (deep(3).proto, _without_first_block(deep(3).proto)))
    pairs = Pairs(long, short, {"x": "x"}, {short.outputs[0]: long.outputs[0]})
    for tensor, partner in pairs.of.items():
        if short.node(tensor) is not None and short.node(tensor).op_type == "Conv":
            assert short.node(tensor).input[1] == long.node(partner).input[1]


def _without_first_block(proto: onnx.ModelProto) -> onnx.ModelProto:
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    graph = made.graph
    last = next(node.output[0] for node in graph.node if node.name == "blocks.0.square")
    stem = next(node.output[0] for node in graph.node if node.name == "stem")
    for node in [n for n in graph.node if n.name.startswith("blocks.0.")]:
        graph.node.remove(node)
    names = {t: f"t{n}" for n, t in enumerate(t for node in graph.node for t in node.output)}
    for node in graph.node:
        node.input[:] = [names.get(stem if t == last else t, t) for t in node.input]
        node.output[:] = [names[t] for t in node.output]
    graph.output[0].name = names[graph.output[0].name]
    return made


@pytest.mark.parametrize(
    ("came", "right", "error"),
    [
        ([1.0, 2.0], [1.0, 4.0], 0.5),
        ([0.0, 0.0], [0.0, 0.0], 0.0),
        ([1.0], [0.0], 1.0),
        ([np.inf, 1.0], [np.inf, 1.0], 0.0),
        ([np.nan, 1.0], [np.nan, 1.0], 0.0),
        ([np.nan, 1.0], [1.0, 1.0], MOST),
        ([-1e9, 1.0], [-1e9, 2.0], 0.5),  # the first is a mask
        ([20000.0, 1000.0], [20000.0, 2000.0], 0.05),  # the first is none
        ([np.finfo(np.float32).min, 1.0], [np.finfo(np.float32).min, 2.0], 0.5),
    ],
)
def test_an_error_is_a_share_of_the_largest_magnitude(came: list[float], right: list[float], error: float) -> None:
    found = distance(np.array(came, np.float32), np.array(right, np.float32))
    assert found.error == pytest.approx(error)


def test_whole_numbers_agree_or_do_not() -> None:
    found = distance(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 9]))
    assert (found.max_abs, found.error, found.cosine) == (5, 0.25, 0.75)
    assert distance(np.zeros(3), np.zeros(4)).error == MOST
    assert agreement(np.array([[1.0, 2.0], [3.0, 1.0]]), np.array([[1.0, 2.0], [1.0, 3.0]])) == 0.5
    assert agreement(np.array([[1.0]]), np.array([[2.0]])) is None


def test_a_cosine_is_that_of_the_plain_formula() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 600_000)).astype(np.float32)
    plain = float(a.astype(float) @ b / (np.linalg.norm(a.astype(float)) * np.linalg.norm(b.astype(float))))
    found = distance(a, b)
    assert found.cosine == pytest.approx(plain, abs=1e-9)
    assert found.max_abs == pytest.approx(np.abs(a.astype(float) - b).max())
    assert found.error == pytest.approx(np.abs(a.astype(float) - b).max() / np.abs(b).max())
