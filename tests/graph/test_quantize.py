"""quantize: INT8 in the file, masks kept out of the ranges, settings that are read or refused."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser
from tiny import tiny_data

from hasten.data import Data
from hasten.engine import available
from hasten.errors import InputError, NotApplicable, UsageError
from hasten.export import export
from hasten.find import engine
from hasten.graph._masks import LIMIT, clamped, masked_nodes
from hasten.graph.quantize import Method, Quantize, _Feeds
from hasten.graph.simplify import simplified
from hasten.model import OnnxModel
from hasten.task import Task

WORDS, LENGTH = 30, 10
MASKS = ("lowest", "infinite", "product")
NEAR = 0.05  # of the largest output: sound INT8 ranges cost 1 to 3 % on these nets, a ruined range 25 % and more


def masked_task(kind: str) -> Task:
    """Two layers of attention over padded tokens; the mask is written in one of the three usual ways."""
    import torch
    from torch import nn

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.norm = nn.Embedding(WORDS, 32), nn.LayerNorm(32)
            self.query, self.key, self.value = nn.Linear(32, 32), nn.Linear(32, 32), nn.Linear(32, 32)
            self.wide, self.narrow, self.head = nn.Linear(32, 64), nn.Linear(64, 32), nn.Linear(32, 3)

        def hidden(self, mask: torch.Tensor) -> torch.Tensor:
            if kind == "product":
                return (1 - mask.float()) * -1e9
            lowest = -torch.inf if kind == "infinite" else torch.finfo(torch.float32).min
            return torch.zeros(mask.shape).masked_fill(mask == 0, lowest)

        def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            x = self.words(tokens)
            for _ in range(2):
                scores = self.query(x) @ self.key(x).transpose(1, 2) + self.hidden(mask)[:, None]
                x = self.norm(x + torch.softmax(scores, -1) @ self.value(x))
                x = x + self.narrow(torch.relu(self.wide(x)))
            return self.head((x * mask[..., None]).sum(1))

    torch.manual_seed(0)
    module, rng = Attention(), np.random.default_rng(0)
    mask = (np.arange(LENGTH) < rng.integers(1, LENGTH + 1, (64, 1))).astype(np.int64)
    data = Data({"tokens": rng.integers(0, WORDS, (64, LENGTH)), "mask": mask})
    return Task(kind, lambda: module, "agreement", calibrate=data, validate=data)


@cache
def exported(kind: str) -> tuple[Task, OnnxModel]:
    task = masked_task(kind)
    return task, export(task.original, task.sample()).model


@pytest.fixture(params=MASKS)
def masked(request: pytest.FixtureRequest) -> tuple[Task, OnnxModel]:
    return exported(request.param)


def off(task: Task, before: OnnxModel, after: OnnxModel, name: str = "onnxruntime") -> float:
    """Largest difference that quantizing made, as a share of the largest output."""
    feed = next(task.split("calibrate").batches(64))
    with engine(name)().compile(before) as plain, engine(name)().compile(after) as int8:
        right = plain(feed)["output"]
        return float(np.abs(int8(feed)["output"] - right).max() / np.abs(right).max())


@pytest.mark.parametrize(
    "step",
    [
        Quantize(method="onnxruntime"),
        Quantize(ranges="minmax"),
        Quantize(transformer=True, smooth_quant=False, ranges="minmax"),
        Quantize(method="placed"),
        Quantize(method="placed", engine="openvino"),
        Quantize(method="dynamic"),
    ],
    ids=str,
)
def test_a_padding_mask_does_not_ruin_the_ranges(step: Quantize, masked: tuple[Task, OnnxModel]) -> None:
    task, before = masked
    assert off(task, before, step(before, task)) < NEAR


def test_without_that_care_the_ranges_are_ruined(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oracle of the test above: the same net, the same quantizer, masks left alone."""
    task, before = exported("lowest")
    monkeypatch.setattr("hasten.graph.quantize.clamped", lambda graph, feeds: graph)
    monkeypatch.setattr("hasten.graph.quantize.masked_nodes", lambda graph: [])
    assert off(task, before, Quantize(method="onnxruntime")(before, task)) > 5 * NEAR


def test_the_mask_is_clamped_without_a_change_of_the_answers(masked: tuple[Task, OnnxModel]) -> None:
    task, before = masked
    feeds = list(task.split("calibrate").batches(32))
    plain = simplified(before.proto)
    safe = clamped(plain, feeds)
    values = [numpy_helper.to_array(w) for w in safe.graph.initializer]
    assert max(np.abs(v).max() for v in values if v.dtype == np.float32) == LIMIT
    with available("onnx")[0].compile(OnnxModel(plain)) as old, available("onnx")[0].compile(OnnxModel(safe)) as new:
        for feed in feeds:
            np.testing.assert_allclose(new(feed)["output"], old(feed)["output"], rtol=0, atol=1e-5)
    kinds = {n.op_type for n in plain.graph.node if n.name in masked_nodes(plain)}
    assert "Softmax" in kinds
    assert not kinds & {"MatMul", "Gemm", "LayerNormalization"}


def test_a_large_constant_that_matters_is_left_alone() -> None:
    proto = parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
        g (float[N, 2] x) => (float[N, 2] y) <float[1] million = {1000000}> { y = Mul(x, million) }""")
    assert clamped(proto, [{"x": np.ones((1, 2), np.float32)}]) is proto


@pytest.fixture(scope="module")
def images() -> tuple[Task, OnnxModel]:
    """Wide enough for its weights to be most of the file."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 64, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1, groups=64),
        nn.ReLU6(),
        nn.Conv2d(64, 128, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(128, 4),
    )
    task = Task("images", lambda: module, "agreement", calibrate=tiny_data(64, 2), validate=tiny_data(64, 3))
    return task, export(task.original, task.sample()).model


@pytest.mark.parametrize(
    "step",
    [
        Quantize(ranges="minmax"),
        Quantize(ranges="minmax", activations_per_channel=False),
        Quantize(method="onnxruntime"),
        Quantize(ranges="minmax", full_bias_correction=True),
        Quantize(method="onnxruntime", weights_per_channel=False),
        Quantize(ranges="minmax", symmetric=True),
        Quantize(method="onnxruntime", symmetric=True),
        Quantize(method="onnxruntime", reduce_range=True),
        Quantize(method="placed"),
        Quantize(method="placed", engine="openvino"),
        Quantize(method="placed", ranges="entropy"),
        Quantize(method="placed", ranges="percentile", symmetric=True),
    ],
    ids=str,
)
def test_convolutions_become_int8(step: Quantize, images: tuple[Task, OnnxModel]) -> None:
    task, before = images
    after = step(before, task)
    assert off(task, before, after) < NEAR
    assert after.proto.ByteSize() < before.proto.ByteSize() * 0.4
    floats = [w for w in after.proto.graph.initializer if w.data_type == onnx.TensorProto.FLOAT]
    assert max(np.prod(w.dims) for w in floats) <= 128  # biases and scales: every weight is INT8
    shares = []
    for name in ("onnxruntime", "openvino"):
        with engine(name)().compile(after) as session:
            shares.append(session.int8_share())
    assert max(shares) >= 0.75  # one of four depthwise; which engine fuses what differs from file to file


def test_every_setting_changes_the_file(images: tuple[Task, OnnxModel]) -> None:
    task, before = images
    nncf = [
        {},
        {"ranges": "minmax"},
        {"symmetric": True},
        {"samples": 3},
        {"activations_per_channel": False},
        {"full_bias_correction": True},
        {"ops": ("Conv",)},
    ]
    runtime = [
        {},
        {"ranges": "entropy"},
        {"ranges": "percentile"},
        {"symmetric": True},
        {"samples": 3},
        {"weights_per_channel": False},
        {"reduce_range": True},
        {"ops": ("Conv",)},
    ]
    placed = [
        {},
        {"ranges": "minmax"},
        {"ranges": "percentile"},
        {"ranges": "entropy"},
        {"symmetric": True},
        {"samples": 3},
        {"engine": "openvino"},
        {"bias_correction": False},
        {"spare": 0.6},
        {"ops": ("Conv",)},
    ]
    kinds: list[tuple[Method, list[dict[str, Any]]]] = [("nncf", nncf), ("onnxruntime", runtime), ("placed", placed)]
    steps = [Quantize(method=method, **settings) for method, tried in kinds for settings in tried]
    files: dict[bytes, Quantize] = {}
    for step in steps:  # apply: a call would write the settings into the file, and then it always differs
        made = step.apply(before, task).proto.SerializeToString(deterministic=True)
        assert files.setdefault(made, step) == step


def test_transformer_settings_change_the_file() -> None:
    task, before = exported("lowest")
    steps = [Quantize(), Quantize(transformer=True), Quantize(transformer=True, smooth_quant=False)]
    assert len({s.apply(before, task).proto.SerializeToString(deterministic=True) for s in steps}) == 3


def test_only_the_named_operators_are_quantized(images: tuple[Task, OnnxModel]) -> None:
    task, before = images
    for method in ("nncf", "onnxruntime", "placed"):
        made = Quantize(method=method, ops=("Gemm",))(before, task).proto
        made_by = {t: n.op_type for n in made.graph.node for t in n.output}
        fed = {n.op_type: made_by.get(n.input[1]) for n in made.graph.node if n.op_type in ("Conv", "Gemm")}
        assert fed == {"Conv": None, "Gemm": "DequantizeLinear"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"method": "onnxruntime", "transformer": True},
            "method=onnxruntime does not read transformer; use method=nncf",
        ),
        ({"method": "dynamic", "samples": 5}, "method=dynamic does not read samples"),
        ({"method": "dynamic", "ranges": "minmax"}, "does not read ranges"),
        ({"method": "placed", "dtype": "int4"}, "has no int4; use method=weights"),
        ({"method": "weights", "ops": ("MatMul",)}, "does not read ops"),
        ({"method": "weights", "block": 33}, "no block=33"),
        ({"method": "nncf", "equalize": "weights"}, "use method=placed"),
        ({"reduce_range": True}, "method=nncf does not read reduce_range"),
        ({"ranges": "entropy"}, "has no ranges=entropy; use method=placed"),
        ({"method": "onnxruntime", "ranges": "mse"}, "has no ranges=mse; use method=placed"),
        ({"engine": "openvino"}, "method=nncf does not read engine; use method=placed"),
        ({"method": "placed", "spare": 1.0}, "cannot spare=1.0"),
        ({"method": "placed", "spare": -0.1}, "cannot spare=-0.1"),
        ({"smooth_quant": False}, "smooths nothing"),
        ({"samples": 0}, "samples=0"),
    ],
)
def test_a_setting_that_is_not_read_is_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Quantize(**settings)


def test_what_it_cannot_do_it_says(images: tuple[Task, OnnxModel]) -> None:
    task, before = images
    with pytest.raises(NotApplicable, match="holds INT8 already"):
        Quantize()(Quantize(method="onnxruntime")(before, task), task)
    with pytest.raises(NotApplicable, match="without convolutions"):
        Quantize(method="dynamic")(before, task)
    with pytest.raises(NotApplicable, match="the graph has no LSTM"):
        Quantize(ops=("LSTM",))(before, task)
    relu = parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
        g (float[N, 1, 8, 8] image) => (float[N, 1, 8, 8] y) { y = Relu(image) }""")
    with pytest.raises(NotApplicable, match="no convolution and no matrix product"):
        Quantize()(OnnxModel(relu), task)


def test_static_needs_calibration_data_and_dynamic_does_not() -> None:
    task, before = exported("lowest")
    bare = Task("bare", task.model, "agreement", validate=task.split("validate"))
    Quantize(method="dynamic")(before, bare)
    with pytest.raises(InputError, match="no calibrate data"):
        Quantize()(before, bare)


@pytest.mark.parametrize(("dtype", "smaller", "most"), [("int8", 2.5, 0.02), ("int4", 3.5, 0.2)])
def test_only_weights(dtype: str, smaller: float, most: float, caplog: pytest.LogCaptureFixture) -> None:
    """On either engine, without calibration data; nothing is quantized a second time."""
    import logging

    root = logging.getLogger()
    before = root.level, root.handlers[:]
    task, model = exported("lowest")
    bare = Task("bare", task.model, "agreement", validate=task.split("validate"))
    step = Quantize(dtype, method="weights")
    made = step(model, bare)
    products = [n for n in made.proto.graph.node if n.op_type == "MatMulNBits"]
    assert products
    assert sum(w.ByteSize() for w in made.proto.graph.initializer if any(w.name in n.input for n in products)) * (
        smaller
    ) < 4 * sum(n.attribute[0].i * n.attribute[1].i for n in products)
    for name in ("onnxruntime", "openvino"):
        assert 0 < off(task, model, made, name) < most
    assert (root.level, root.handlers) == before
    assert not caplog.records
    with pytest.raises(NotApplicable, match="INT8 already"):
        Quantize()(made, task)


def test_variants_fit_the_graph(images: tuple[Task, OnnxModel]) -> None:
    attention = Quantize.variants(exported("lowest")[1])
    convolutions = Quantize.variants(images[1])
    assert attention[0].method == convolutions[0].method == "placed"
    assert any(v.transformer for v in attention)
    assert Quantize(method="dynamic") in attention
    assert Quantize(method="dynamic") not in convolutions
    assert Quantize("int4", method="weights") in attention
    assert not any(v.method == "weights" for v in convolutions)
    assert not any(v.transformer for v in convolutions)
    assert any(not v.activations_per_channel for v in convolutions)
    assert Quantize.variants(Quantize(method="onnxruntime")(images[1], images[0])) == ()


def test_quantizing_twice_gives_the_same_file(images: tuple[Task, OnnxModel]) -> None:
    task, before = images
    for step in (Quantize(ranges="minmax"), Quantize(method="onnxruntime"), Quantize(method="placed", spare=0.3)):
        assert step(before, task).digest() == step(before, task).digest(), step


def test_nothing_is_printed_and_nothing_left_behind(
    images: tuple[Task, OnnxModel], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    task, before = images
    for step in (Quantize(), Quantize(method="onnxruntime", ranges="entropy"), Quantize(method="placed", spare=0.3)):
        step(before, task)
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_calibration_samples_are_spread_and_read_a_call_at_a_time() -> None:
    data = Data({"x": np.arange(100, dtype=np.float32)[:, None]})
    feeds = _Feeds(data, samples=5, size=2)
    assert [f["x"].ravel().tolist() for f in feeds] == [[0, 25], [50, 74], [99, 99]]
    assert len(feeds) == 3
    assert [f["x"].ravel().tolist() for f in feeds[:1]] == [[0, 25]]
    with pytest.raises(IndexError):
        feeds[3]
