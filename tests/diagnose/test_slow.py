"""Every reason on evidence made to show it, and on evidence made not to."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from graphs import model
from onnx import helper

from hasten import find
from hasten.diagnose import slow
from hasten.diagnose.remedy import applied, fixed, parsed
from hasten.diagnose.slow import Evidence, differences, explain, reasons
from hasten.engine import Engine
from hasten.errors import InputError, UsageError
from hasten.manifest import validate
from hasten.measure.latency import Race
from hasten.model import OnnxModel
from hasten.report.slow import slow_tables

ONE = find.engine("openvino")(threads=1)
VNNI = ("avx2", "avx512f", "avx512_vnni")


def layer(name: str, ms: float, **more: Any) -> dict[str, Any]:
    """A convolution at its peak, but for what is said."""
    usual = {
        "layer": name, "op": "Convolution", "precision": "f32", "of": [name], "ops": ["Conv"], "modules": [name],
        "ms": ms, "share": 0.0, "macs": 1000, "operations": 2000, "bytes": 1000, "per_s": 9e10, "bytes_per_s": 1e9,
        "utilization": 0.9, "bound": "compute",
    }  # fmt: skip
    return usual | more


def took(*ms: float) -> Race:
    """A race in which each entrant takes so long, each time."""
    return Race([[[[m] * 5 for m in ms] for _ in range(20)]])


def never(entrants: Sequence[tuple[Path, Engine]], feed: Mapping[str, Any] | None = None) -> Race:
    raise AssertionError("no race is needed")


def convolutions(channels: int = 16, group: int = 1, batch: int | str = 1) -> OnnxModel:
    weights = {"w": np.ones((channels, 16 // group, 3, 3), np.float32)}
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv", pads=[1] * 4, group=group)
    return OnnxModel(model([node], {"x": (batch, 16, 8, 8)}, {"y": (batch, channels, 8, 8)}, weights))


def stored(before: bool = True, weights: bool = True, behind: bool = True) -> OnnxModel:
    """A convolution between Q and DQ, which may be missing."""
    kept: dict[str, Any] = {"s": np.float32(1), "z": np.int8(0), "w8": np.ones((16, 16, 3, 3), np.int8)}
    kept["w"] = np.ones((16, 16, 3, 3), np.float32)
    q, dq = (
        lambda a, b, op=op: helper.make_node(op, [a, "s", "z"], [b], name=b)
        for op in ("QuantizeLinear", "DequantizeLinear")
    )
    nodes = [q("x", "xq"), dq("xq", "xd"), dq("w8", "wd")]
    nodes.append(
        helper.make_node("Conv", ["xd" if before else "x", "wd" if weights else "w"], ["c"], name="conv", pads=[1] * 4)
    )
    nodes += [q("c", "cq"), dq("cq", "y")] if behind else [helper.make_node("Sigmoid", ["c"], ["y"], name="act")]
    used = {name for node in nodes for name in node.input}
    return OnnxModel(
        model(nodes, {"x": (1, 16, 8, 8)}, {"y": (1, 16, 8, 8)}, {k: v for k, v in kept.items() if k in used})
    )


def seen(*layers: dict[str, Any], of: OnnxModel | None = None, ms: float | None = None, **more: Any) -> Evidence:
    whole = sum(one["ms"] for one in layers)
    peaks = {"operations": {"f32": 1e11, "bf16": 2e11, "int8": 4e11}}
    row = {
        "latency_p50_ms": ms or whole, "throughput_per_s": 1e3 / (ms or whole), "throughput_batch": 1,
        "roofline": {"layers": list(layers), "sum_ms": whole, "profiled_ms": ms or whole, "peaks": peaks},
    } | more.pop("row", {})  # fmt: skip
    usual: dict[str, Any] = {"engine": ONE, "others": (), "isa": VNNI, "axes": {}, "times": never}
    return Evidence(model=of or convolutions(), row=row, **usual | more)


def found(reason: str, evidence: Evidence) -> list[slow.Finding]:
    return list(reasons()[reason].look(evidence))


def test_each_file_is_a_reason() -> None:
    assert set(reasons()) == {
        "channels", "conversions", "depthwise", "dynamic", "fallback", "floats", "memory", "overhead", "reorders",
        "threads", "vnni",
    }  # fmt: skip
    assert all((reason.__doc__ or "").startswith(f"{name}: ") for name, reason in reasons().items())
    assert all("Decided by" in (reason.__doc__ or "") for reason in reasons().values())


def test_a_layer_at_its_peak_has_no_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hasten.measure.machine.threads", lambda: 1)
    assert explain(seen(layer("conv", 1.0), of=convolutions().save(tmp_path / "m.onnx"))) == []


def test_layers_fit_into_the_call() -> None:
    """What the account costs is taken off."""
    held = seen(
        layer("a", 2.0),
        layer("b", 1.0),
        ms=1.5,
        row={"roofline": {"layers": [layer("a", 2.0), layer("b", 1.0)], "profiled_ms": 3.0}},
    )
    assert [one["ms"] for one in held.layers] == [1.0, 0.5]


def test_most_time_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hasten.measure.machine.threads", lambda: 1)
    layers = [layer("conv", 1.0, bound="memory"), layer("move", 0.5, op="Reorder", macs=0, ops=[], of=[], modules=[])]
    names = [finding.reason for finding in explain(seen(*layers))]
    assert names == ["memory", "reorders"]


def test_the_time_of_a_layer_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the reason that says most of it; what is left is looked at by those that say less."""
    monkeypatch.setattr("hasten.measure.machine.threads", lambda: 1)
    slow_one = layer("conv", 0.5, bound="overhead", per_s=1e9, operations=500_000)
    rest = [layer(f"l{i}", 0.02, bound="overhead", macs=0) for i in range(25)]
    mixed = explain(seen(slow_one, *rest, of=stored(behind=False)))
    assert [(f.reason, f.ms) for f in mixed] == [("overhead", pytest.approx(0.5)), ("floats", pytest.approx(0.5))]
    only = explain(seen(slow_one, *rest[:10], of=stored(behind=False)))
    assert [f.reason for f in only] == ["floats"]  # what is left is too little to be worth a word
    waiting = slow_one | {"bound": "memory"}
    grouped = explain(seen(waiting, layer("other", 0.1, bound="memory"), of=convolutions(group=16)))
    assert [f.reason for f in grouped] == ["depthwise"]


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ({"before": False}, "no DQ stands before what it reads"),
        ({"weights": False}, "no DQ stands before its weights"),
        ({"behind": False}, "no Q stands behind it, but Sigmoid"),
        ({}, "the engine has no INT8 layer for it"),
    ],
)
def test_floats_beside_int8(missing: dict[str, bool], said: str) -> None:
    (finding,) = found("floats", seen(layer("conv", 1.0), of=stored(**missing)))
    assert said in finding.what
    assert finding.apply == {"recipe": "quantize(method=placed, engine=openvino)", "on": "original"}
    assert finding.ms == 1.0
    assert found("floats", seen(layer("conv", 1.0, precision="i8"), of=stored(**missing))) == []
    assert found("floats", seen(layer("conv", 1.0))) == []  # a file of floats


def test_q_and_dq_that_are_run() -> None:
    alone = layer("xq", 0.3, op="QuantizeLinear", ops=["QuantizeLinear"], macs=0)
    (finding,) = found("conversions", seen(layer("conv", 0.7, precision="i8"), alone, of=stored()))
    assert finding.ms == pytest.approx(0.3)
    assert finding.figures["layers"] == 1
    fused = layer("conv", 1.0, precision="i8", ops=["DequantizeLinear", "Conv", "QuantizeLinear"])
    assert found("conversions", seen(fused, of=stored())) == []


def test_reorders() -> None:
    moved = layer("to", 0.3, op="ReorderInput", macs=0, ops=[], of=[], modules=[])
    slower, faster = ({"engine": f"onnxruntime(threads={n})", "reason": "", "latency_p50_ms": n / 2} for n in (4, 1))
    (finding,) = found("reorders", seen(layer("conv", 0.7), moved, others=[slower, faster]))
    assert finding.apply == {"engine": "onnxruntime(threads=1)"}
    (finding,) = found("reorders", seen(layer("conv", 0.7), moved, others=[slower]))
    assert finding.apply is None
    own = OnnxModel(
        model([helper.make_node("Transpose", ["x"], ["y"], name="t", perm=[1, 0])], {"x": (4, 8)}, {"y": (8, 4)}, {})
    )
    asked = layer("t", 1.0, op="Transpose", macs=0, ops=["Transpose"])
    assert found("reorders", seen(asked, of=own)) == []


def test_depthwise() -> None:
    slow_one = layer("conv", 1.0, per_s=4e9, operations=4_000_000)
    (finding,) = found("depthwise", seen(slow_one, of=convolutions(group=16)))
    assert finding.figures["of_peak"] == pytest.approx(0.04)
    assert finding.apply
    assert finding.apply["on"] == "this"
    other = {"engine": "onnxruntime(threads=1)", "reason": "", "latency_p50_ms": 0.5}
    (moved,) = found("depthwise", seen(slow_one, of=convolutions(group=16), others=[other]))
    assert moved.apply == {"engine": "onnxruntime(threads=1)"}
    assert found("depthwise", seen(slow_one)) == []  # not in groups
    pairs = OnnxModel(convolutions(group=2).proto)
    assert found("depthwise", seen(slow_one, of=pairs)) == []
    quick = layer("conv", 1.0, per_s=5e10, operations=50_000_000)
    assert found("depthwise", seen(quick, of=convolutions(group=16))) == []


def test_memory() -> None:
    (finding,) = found("memory", seen(layer("conv", 0.6, bound="memory", bytes=10**7), layer("other", 0.4)))
    assert finding.ms == pytest.approx(0.6)
    assert "10 MB" in finding.what
    assert found("memory", seen(layer("conv", 0.1, bound="memory"), layer("other", 0.9))) == []


def test_int8_without_instructions_for_it() -> None:
    small = layer("conv", 1.0, precision="i8")
    (finding,) = found("vnni", seen(small, of=stored(), isa=("avx2",)))
    assert finding.ms == 1.0
    assert found("vnni", seen(small, of=stored())) == []
    assert found("vnni", seen(layer("conv", 1.0), isa=("avx2",))) == []


def test_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hasten.measure.machine.threads", lambda: 4)
    net, asked = convolutions().save(tmp_path / "m.onnx"), []

    def raced(*ms: float) -> Callable[..., Race]:
        def times(entrants: Sequence[tuple[Path, Engine]], feed: object = None) -> Race:
            asked.extend(engine.threads for _, engine in entrants)
            return took(*ms)

        return times

    (finding,) = found("threads", seen(layer("conv", 2.0), of=net, times=raced(2.0, 1.5, 1.0)))
    assert asked == [1, 2, 4]
    assert finding.apply == {"engine": "openvino(threads=4)"}
    assert finding.ms == pytest.approx(1.0)
    assert found("threads", seen(layer("conv", 2.0), of=net, times=raced(1.0, 0.99, 1.2))) == []


def test_overhead() -> None:
    idle = [layer(f"l{i}", 0.01, bound="overhead") for i in range(30)]
    batched = {"throughput_batch": 16, "throughput_per_s": 5000.0}
    (finding,) = found("overhead", seen(*idle, ms=1.0, row=batched))
    assert finding.ms == pytest.approx(1.0)
    assert finding.apply == {"batch": 16}
    assert "5 times as many a second" in finding.remedy
    (alone,) = found("overhead", seen(*idle, ms=1.0))
    assert alone.apply is None
    assert found("overhead", seen(layer("conv", 0.9), *idle[:5], ms=1.0)) == []
    unknown = [layer(f"l{i}", 0.03, bound="unknown") for i in range(30)]
    assert found("overhead", seen(*unknown)) == []  # nobody knows what holds them up


def test_fallback() -> None:
    half = find.engine("openvino")(threads=1, hint="bf16")
    (finding,) = found("fallback", seen(layer("conv", 1.0), engine=half))
    assert "though bf16 was asked for" in finding.what
    assert found("fallback", seen(layer("conv", 1.0, precision="bf16"), engine=half)) == []
    assert found("fallback", seen(layer("conv", 1.0))) == []
    other = {"engine": "onnxruntime(threads=1)", "reason": "", "latency_p50_ms": 0.5}
    (plain,) = found("fallback", seen(layer("conv", 1.0, op="Reference"), others=[other]))
    assert "runs Conv in plain loops" in plain.what
    assert plain.apply == {"engine": "onnxruntime(threads=1)"}


def test_dynamic(tmp_path: Path) -> None:
    net = convolutions(batch="N").save(tmp_path / "m.onnx")

    def times(entrants: Sequence[tuple[Path, Engine]], feed: object = None) -> Race:
        (_, _), (still, _) = entrants
        assert OnnxModel.load(still).signature.inputs[0].shape == (1, 16, 8, 8)
        return took(*ms)

    ms = (1.5, 1.0)
    (finding,) = found("dynamic", seen(layer("conv", 1.5), of=net, times=times))
    assert finding.apply == {"fix": {"N": 1}}
    assert finding.ms == pytest.approx(0.5)
    ms = (1.0, 1.0)
    assert found("dynamic", seen(layer("conv", 1.5), of=net, times=times)) == []
    assert found("dynamic", seen(layer("conv", 1.5), of=convolutions().save(tmp_path / "f.onnx"))) == []


def test_channels() -> None:
    widths: list[int] = []

    def times(entrants: Sequence[tuple[Path, Engine]], feed: Mapping[str, Any] | None = None) -> Race:
        assert feed
        assert feed["x"].shape[1:] == (16, 8, 8)
        for path, _ in entrants:
            widths.append(int(OnnxModel.load(path).signature.outputs[0].shape[1]))
        return took(*ms)

    ms = (1.0, 1.0)
    (finding,) = found("channels", seen(layer("conv", 1.0), of=convolutions(17), times=times))
    assert widths == [17, 32]
    assert "17 take as long as 32" in finding.what
    assert "prune(widths=(16 ...))" in finding.remedy
    ms = (1.0, 1.8)
    assert found("channels", seen(layer("conv", 1.0), of=convolutions(17), times=times)) == []
    assert found("channels", seen(layer("conv", 1.0), of=convolutions(32))) == []
    assert found("channels", seen(layer("conv", 1.0, precision="i8"), of=convolutions(17))) == []
    assert found("channels", seen(layer("conv", 1.0), of=convolutions(24), isa=("avx2",))) == []


def test_modules_are_compared_by_name() -> None:
    slow_one = seen(layer("a", 3.0), layer("b", 1.0))
    fast = seen(layer("a", 1.0), layer("c", 0.5))
    assert list(differences(slow_one, fast)) == [
        {"module": "a", "ms": 3.0, "other_ms": 1.0},
        {"module": "b", "ms": 1.0, "other_ms": 0.0},
        {"module": "c", "ms": 0.0, "other_ms": 0.5},
    ]


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_engines_are_read_as_they_print(name: str) -> None:
    for engine in (*find.engine(name).variants(True), find.engine(name)(threads=3)):
        assert parsed(str(engine)) == engine
    with pytest.raises(UsageError, match="has no setting"):
        parsed(f"{name}(thread=3)")


def test_remedies_are_applied() -> None:
    net, two = convolutions(batch="N"), find.engine("onnxruntime")(threads=2)
    assert applied({"engine": str(two)}, net, ONE) == (net, two)
    assert applied({"batch": 8}, net, ONE) == (net, ONE)
    still, engine = applied({"fix": {"N": 4}}, net, ONE)
    assert (still.signature.inputs[0].shape[0], still.signature.outputs[0].shape[0], engine) == (4, 4, ONE)
    assert net.signature.batch == "N"
    with pytest.raises(InputError, match="needs the original"):
        applied({"recipe": "simplify", "on": "original"}, net, ONE)
    task: Any = SimpleNamespace(original=net)
    with pytest.raises(UsageError):
        applied({"recipe": "nonsense", "on": "this"}, net, ONE, task)


def test_a_file_that_is_fixed_answers_the_same() -> None:
    net = convolutions(batch="N")
    feed = {"x": np.random.default_rng(0).normal(size=(2, 16, 8, 8)).astype(np.float32)}
    answers = []
    for one in (net, fixed(net, {"N": 2})):
        onnx.checker.check_model(one.proto, full_check=True)
        with find.engine("onnxruntime")(threads=1).compile(one) as session:
            answers.append(session(feed)["y"])
    np.testing.assert_array_equal(*answers)


def test_findings_fit_the_schema(tmp_path: Path) -> None:
    from results import result

    findings = [
        finding.to_json()
        for evidence in (
            seen(layer("conv", 1.0), of=stored(behind=False)),
            seen(layer("conv", 1.0, bound="memory")),
            seen(
                *[layer(f"l{i}", 0.01, bound="overhead") for i in range(30)],
                ms=1.0,
                row={"throughput_batch": 4, "throughput_per_s": 9e3},
            ),
        )
        for name in ("floats", "memory", "overhead")
        for finding in found(name, evidence)
    ]
    assert len(findings) == 3
    whole = {
        "task": "m.onnx", "command": "hasten explain m.onnx", "conditions": result()["conditions"], "engine": str(ONE),
        "latency_p50_ms": 1.0, "findings": findings,
        "against": {
            "task": "n.onnx", "engine": str(ONE), "latency_p50_ms": 2.0,
            "modules": [{"module": "a", "ms": 1.0, "other_ms": 0.0}],
        },
    }  # fmt: skip
    validate(whole, "explain", tmp_path)
    lines = [part for part in slow_tables(whole) if isinstance(part, str)]
    assert any(line.startswith("1. floats") for line in lines)
    assert len(lines) == 1 + 3 * 3
