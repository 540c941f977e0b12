"""A graph with an exit is cut into two stages that answer as it does."""

import json
from dataclasses import replace
from pathlib import Path

import bundles
import jsonschema
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hasten import Budget, boost, cpp
from hasten.bundle import Bundle
from hasten.data import Data
from hasten.engine import available
from hasten.errors import InputError, NotApplicable
from hasten.exits import Exit, cut, macs, marked, stages
from hasten.find import engine
from hasten.flow import Flow
from hasten.graph.quantize import Quantize
from hasten.graph.simplify import Simplify
from hasten.measure.stand import Entrant, Stand
from hasten.measure.whole import end_to_end
from hasten.model import OnnxModel
from hasten.provenance import label
from hasten.task import Task

SPEC = Path(__file__).parents[1] / "spec"
HIDDEN, CLASSES, AT = 16, 3, Exit(0.75)
Node = onnx.NodeProto


def node(op: str, takes: str, gives: str, **settings: object) -> Node:
    return helper.make_node(op, takes.split(), gives.split(), name=f"{op}_{gives}", **settings)


def choice(trunk: str = "h1") -> list[Node]:
    """A head on `trunk`, two layers behind it, and the choice between the two answers."""
    return [
        node("MatMul", f"{trunk} quick_w", "quick"),
        node("Softmax", "quick", "scores", axis=-1),
        node("ReduceMax", "scores axes", "best", keepdims=1),
        node("GreaterOrEqual", "best threshold", "sure"),
        node("MatMul", "h1 w2", "m2"), node("Relu", "m2", "h2"),
        node("MatMul", "h2 whole_w", "whole"),
        node("Where", "sure quick whole", "logits"),
    ]  # fmt: skip


def graph(nodes: list[Node], batch: int | str = "N", answer: str = "logits", **further: np.ndarray) -> OnnxModel:
    """x [batch, 6] -> answer [batch, 3], the first layer in front of `nodes`."""
    rng = np.random.default_rng(0)
    shapes = {"w1": (6, HIDDEN), "quick_w": (HIDDEN, CLASSES), "w2": (HIDDEN, HIDDEN), "whole_w": (HIDDEN, CLASSES)}
    weights = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    weights |= {"axes": np.array([-1]), "threshold": np.float32(AT.threshold)} | further
    made = helper.make_graph(
        [node("MatMul", "x w1", "m1"), node("Relu", "m1", "h1"), *nodes],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 6])],
        [helper.make_tensor_value_info(answer, TensorProto.FLOAT, [batch, CLASSES])],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in weights.items()],
    )
    proto = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.checker.check_model(proto, full_check=True)
    return marked(OnnxModel(label(proto)), AT)


def samples(count: int = 200) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(1).normal(0, 0.6, (count, 6)).astype(np.float32)}


def both(model: OnnxModel, folder: Path, feed: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the graph answers, what its stages answer, and how many stages more each sample took."""
    runs = engine("onnxruntime")(threads=1)
    with runs.compile(model) as session:
        wanted = session(feed)
    parts = stages(model, runs, folder)
    assert {part.engine for part in parts} == {engine("onnxruntime")(threads=1, turns=True)}  # they take turns
    flow = Flow(parts, list(wanted))
    try:
        return next(iter(wanted.values())), next(iter(flow.run(feed).values())), flow.further(feed)[0]
    finally:
        flow.close()


def test_stages_answer_as_the_graph_that_they_were_cut_from(tmp_path: Path) -> None:
    model = graph(choice())
    first, rest = cut(model)
    assert str(first.signature) == "x float32 [N, 6] -> logits float32 [N, 3], h1 float32 [N, 16]"
    assert str(rest.signature) == "h1 float32 [N, 16] -> logits float32 [N, 3]"
    assert Exit.of(first.proto) is Exit.of(rest.proto) is None
    assert {n.op_type for n in first.proto.graph.node} == {"MatMul", "Relu", "Identity"}  # the runner is the judge
    whole, parts, further = both(model, tmp_path, samples())
    np.testing.assert_allclose(parts, whole, atol=1e-5)
    assert 40 < further.sum() < 160
    assert macs(model, 0.25) == 6 * 16 + 16 * 3 + 0.75 * (16 * 16 + 16 * 3)


def test_a_pass_leaves_the_exit_where_it_is_and_int8_is_handed_over(tmp_path: Path) -> None:
    data = bundles.samples()
    task = Task("exit", tmp_path / "none.onnx", "mse", calibrate=data, validate=data)
    task.__dict__["original"] = graph(choice())
    model = Simplify()(graph([*choice()[:-1], node("Where", "sure quick whole", "chosen"),
                              node("Identity", "chosen", "logits")]), task)  # fmt: skip
    assert Exit.of(model.proto) == AT
    int8 = Quantize(method="placed", engine="onnxruntime")(model, task)
    first, rest = cut(int8)
    (handed,) = first.signature.outputs[1:]
    assert handed.dtype in ("uint8", "int8")
    assert rest.signature.inputs == (handed,)
    whole, parts, further = both(int8, tmp_path, samples())
    np.testing.assert_allclose(parts, whole, atol=1e-5)
    assert 40 < further.sum() < 160


def test_shapes_are_made_again_and_never_handed_over(tmp_path: Path) -> None:
    """The number of samples is another one in the second stage."""
    nodes = [
        node("Shape", "h1", "shape", start=0, end=1), node("Concat", "shape last", "target", axis=0),
        *choice()[:-2], node("Reshape", "h2 target", "again"), node("MatMul", "again whole_w", "whole"), choice()[-1],
    ]  # fmt: skip
    nodes[2] = node("Reshape", "h1 target", "flat")
    nodes[3:3] = [node("MatMul", "flat quick_w", "quick")]
    model = graph(nodes, last=np.array([HIDDEN]))
    assert [t.name for t in cut(model)[1].signature.inputs] == ["h1"]
    whole, parts, _ = both(model, tmp_path, samples())
    np.testing.assert_allclose(parts, whole, atol=1e-5)


def test_a_fixed_batch_is_cut_as_well(tmp_path: Path) -> None:
    model = graph(choice(), batch=1)
    runs = engine("onnxruntime")(threads=1)
    flow = Flow(stages(model, runs, tmp_path), ["logits"])
    with runs.compile(model) as session:
        wanted = np.concatenate([session({"x": x[None]})["logits"] for x in samples(20)["x"]])
    np.testing.assert_allclose(flow.run(samples(20))["logits"], wanted, atol=1e-5)
    flow.close()


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([node("MatMul", "h1 whole_w", "logits")], "'logits' is not chosen from two answers"),
        ([*choice()[:-1], node("MatMul", "w2 w2", "square"), node("MatMul", "square whole_w", "other"),
          node("Where", "sure quick other", "logits")], "nothing to hand over"),
        ([node("Transpose", "h1", "turned", perm=[1, 0]), node("MatMul", "w2 turned", "product"),
          node("Transpose", "product", "back", perm=[1, 0]),
          *choice("back")[:-3], node("Transpose", "product", "h2", perm=[1, 0]), *choice()[-2:]],
         "'product' is wanted by the quick answer and the rest, and is no row a sample"),
    ],
)  # fmt: skip
def test_what_cannot_be_cut_is_refused(nodes: list[Node], said: str) -> None:
    with pytest.raises(NotApplicable, match=said):
        cut(graph(nodes))


@pytest.mark.parametrize("text", ["{}", "[]", "0.5", '{"threshold": "high"}', '{"threshold": 0.5, "activation": "x"}'])
def test_a_mark_that_is_none_is_refused(text: str) -> None:
    proto = onnx.ModelProto()
    proto.metadata_props.add(key="hasten.exit", value=text)
    with pytest.raises(InputError, match="is no exit"):
        Exit.of(proto)


def test_both_runners_take_the_same_way(tmp_path: Path) -> None:
    """Decisions of a thousand samples, each alone and all together; the golden cases go both ways."""
    model, runs = graph(choice()), engine("openvino")(threads=1)
    cases = bundles.samples(300)
    cases = replace(cases, inputs={"x": cases.inputs["x"] * np.float32(0.6)})
    with bundles.make(tmp_path / "b", stages=stages(model, runs, tmp_path), cases=cases) as bundle:
        raw = [bundle.golden.raw(bundle.folder, i) for i in range(len(bundle.golden.cases))]
        ways = [int(bundle.flow.further(one)[0][0]) for one in raw]
        assert 0 < sum(ways) < len(ways)
        feed = samples(1000)
        np.save(tmp_path / "x.npy", feed["x"])
        found = bundle.answer(feed)
        assert [d for x in feed["x"] for d in bundle.answer({"x": x[None]})] == found
    assert [line["decision"] for line in cpp.answers(tmp_path / "b", str(tmp_path / "x.npy"))] == found


def test_golden_cases_stand_on_no_threshold(tmp_path: Path) -> None:
    """With a tolerance of INT8, samples near the threshold are none; without steady ones there is no bundle."""
    model, runs = graph(choice()), available("onnx")[0]
    flow = Flow(stages(model, runs, tmp_path), ["logits"])
    feed = samples(500)
    count, steady = flow.further(feed, {"logits": 0.3})
    logits = flow.run(feed)["logits"]
    flow.close()
    powers = np.exp(logits - logits.max(1, keepdims=True))
    best = (powers / powers.sum(1, keepdims=True)).max(1)
    assert not steady[(count == 0) & (best < 0.76)].any()
    assert steady[(count == 0) & (best > 0.95)].all()


def test_time_is_a_mean_over_samples_in_their_proportion(tmp_path: Path) -> None:
    path = graph(choice()).save(tmp_path / "m.onnx").path
    assert path is not None
    Data(samples(400)).save(tmp_path / "feed")
    with Stand(Entrant(path, "onnxruntime", {"threads": 1}), tmp_path / "feed") as stand:
        assert stand.varies
        ways = stand.ways()
        found = stand.answers(tmp_path / "feed", tmp_path / "out")["logits"]
    _, parts, further = both(graph(choice()), tmp_path, samples(400))
    np.testing.assert_allclose(found, parts, atol=1e-5)
    assert ways["early_share"] == pytest.approx((further == 0).mean())
    assert ways["latency_worst_ms"] > 0


def test_a_search_measures_and_ships_the_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model as it is fast enough: what was timed, scored and shipped are its two stages, in both runners."""
    model = graph(choice())
    feed = samples(400)
    whole, _, further = both(model, tmp_path, feed)
    data = Data(feed, whole.argmax(1))
    task = Task("exit", model.save(tmp_path / "exit.onnx").path or Path(), "top1", validate=data, test=data)
    found = boost(task, tmp_path / "out", Budget(0.5, latency_ms=1000), engines=["onnxruntime"])
    jsonschema.validate(found, json.loads((SPEC / "result.schema.json").read_text()))
    won = found["winner"]
    assert won["accuracy"] == 1
    assert won["early_share"] == pytest.approx((further == 0).mean())
    assert won["macs"] == round(6 * 16 + 16 * 3 + (1 - won["early_share"]) * (16 * 16 + 16 * 3))
    assert 0 < won["latency_mean_ms"] < won["latency_p99_ms"]
    with Bundle.load(tmp_path / "out") as bundle:
        assert [stage.when for stage in bundle.stages] == ["always", "unless"]
    monkeypatch.setattr("hasten.measure.whole.LAUNCHES", 1)
    monkeypatch.setattr("hasten.measure.whole.CALLS_S", 0.2)
    python, native = end_to_end(tmp_path / "out")
    assert python["early_share"] == won["early_share"]
    assert python["latency_mean_ms"] > 0
    assert native["runner"] == "C++"
    assert native["reason"] or native["latency_worst_ms"] > 0
