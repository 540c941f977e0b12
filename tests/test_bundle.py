"""The bundle: what is written is what runs, everywhere, and only what was measured is let through."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import bundles
import numpy as np
import pytest
from bundles import engine, forge, make, samples

from hasten import files, find
from hasten.answer import Answer
from hasten.bundle import Bundle, is_bundle
from hasten.data import Data
from hasten.engine import Compiled, Layer, Session
from hasten.errors import ContractError, InputError, Unmet
from hasten.flow import answer, run
from hasten.measure.machine import threads
from hasten.model import Signature, Tensor
from hasten.pipeline import Pipeline, Window
from hasten.stage import Stage, Unless

EXACT = 1e-5  # six features, f32: a handful of spacings at magnitude 10


def test_what_is_written_is_what_is_loaded(tmp_path):
    make(tmp_path / "b")
    with Bundle.load(str(tmp_path / "b")) as bundle:
        assert bundle.signature == Signature(
            (Tensor("x", "float32", ("N", 6)),), (Tensor("logits", "float32", ("N", 3)),)
        )
        (stage,) = bundle.stages
        assert (stage.name, stage.file, stage.engine, stage.when) == (
            "model",
            tmp_path / "b/model.onnx",
            engine(),
            "always",
        )
        assert bundle.pipeline == Pipeline(answer=Answer("classes", labels=("a", "b", "c")))
        assert (bundle.recipe, bundle.measurements, bundle.conditions) == (
            "simplify",
            {"latency_p50_ms": 0.5},
            {"cpu": "a CPU"},
        )
        assert set(bundle.versions) == {"hasten", "python", "numpy", "onnxruntime"}
        assert bundle.versions["numpy"] == np.__version__
    assert sorted(p.name for p in (tmp_path / "b").iterdir()) == ["bundle.json", "golden", "model.onnx", "report.html"]
    assert not list(tmp_path.glob(".*"))  # nothing is left aside


def test_runs_and_decides(tmp_path):
    make(tmp_path / "b")
    x = samples(17, seed=7).inputs["x"]
    with Bundle.load(tmp_path / "b") as bundle:
        assert np.allclose(bundle({"x": x})["logits"], bundles.answers(x), atol=EXACT)
        assert bundle.answer({"x": x}) == [[int(c)] for c in bundles.answers(x).argmax(1)]


class Reusing(Compiled):
    """Doubles x into one array that every call fills anew, as an engine may."""

    def __init__(self) -> None:
        self.buffer = np.zeros((2, 3), np.float32)

    def run(self, feed):
        np.multiply(feed["x"], 2, out=self.buffer)
        return {"y": self.buffer}

    def layers(self) -> list[Layer]:
        return []


@pytest.mark.parametrize("batch", ["N", 2])
def test_outputs_belong_to_the_caller(batch):
    side = (batch, 3)
    session = Session(Reusing(), Signature((Tensor("x", "float32", side),), (Tensor("y", "float32", side),)))
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    first = answer(session, {"x": x})["y"]
    answer(session, {"x": x + 1})
    assert np.array_equal(first, 2 * x)


@pytest.mark.parametrize(
    ("feed", "sentence"),
    [
        ({"y": np.zeros((1, 6), np.float32)}, "inputs ['y'] were given; this model has ['x float32 [N, 6]']"),
        ({"x": np.zeros((1, 6))}, "'x' is float64; float32 is expected: convert it"),
        ({"x": np.zeros((1, 5), np.float32)}, "'x' has shape [1, 5]; x float32 [N, 6] is expected"),
        ({"x": np.zeros((0, 6), np.float32)}, "there are no samples in the feed; give at least one"),
    ],
)
def test_a_wrong_feed_is_refused(tmp_path, feed, sentence):
    with make(tmp_path / "b") as bundle, pytest.raises(InputError) as refusal:
        bundle(feed)
    assert str(refusal.value) == sentence


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8, 11])
def test_a_fixed_batch_takes_any_number_of_samples(tmp_path, count):
    stage = Stage.of(bundles.whole(tmp_path / "four.onnx", batch=4), engine())
    x = samples(count, seed=3).inputs["x"]
    with make(tmp_path / "b", stages=[stage]) as bundle:
        assert np.allclose(bundle({"x": x})["logits"], bundles.answers(x), atol=EXACT)
    case = json.loads((tmp_path / "b/golden/cases.json").read_text())["cases"][0]
    assert len(case["decision"]) == 4
    assert np.load(tmp_path / "b" / case["raw"]["x"]).shape == (4, 6)


def test_stages_hand_each_other_tensors(tmp_path):
    stages = [
        Stage.of(bundles.encoder(tmp_path / "e.onnx"), engine(), "encoder"),
        Stage.of(bundles.head(tmp_path / "h.onnx", batch=2), engine(), "head"),  # its batch is fixed, the other's free
    ]
    x = samples(5).inputs["x"]
    with make(tmp_path / "b", stages=stages) as bundle:
        assert [t.name for t in bundle.signature.inputs] == ["x"]
        assert [t.name for t in bundle.signature.outputs] == ["logits"]
        assert np.allclose(bundle({"x": x})["logits"], bundles.answers(x), atol=EXACT)
    assert (tmp_path / "b/encoder.onnx").exists()
    Bundle.load(tmp_path / "b").close()


def test_golden_cases_are_clearly_decided_and_whole(tmp_path):
    make(tmp_path / "b")
    index = json.loads((tmp_path / "b/golden/cases.json").read_text())
    assert len(index["cases"]) == 8
    tolerance = index["tolerance"]["logits"]
    largest = np.abs(bundles.answers(samples().inputs["x"])).max()
    assert 0 < tolerance <= largest * 2**-13 * 1.001
    for case in index["cases"]:
        raw, prepared, output = (
            np.load(tmp_path / "b" / case[k][t]) for k, t in (("raw", "x"), ("prepared", "x"), ("output", "logits"))
        )
        assert raw.tobytes() == prepared.tobytes()
        assert np.abs(output - bundles.answers(raw)).max() < EXACT
        second, best = np.sort(output[0])[-2:]
        assert case["margin"] == pytest.approx((best - second) / tolerance)
        assert case["margin"] >= 10
        assert case["decision"] == [[int(output[0].argmax())]]


@pytest.mark.parametrize(
    ("settings", "int8", "share"),
    [({}, True, 2**-5), ({"hint": "bf16"}, False, 2**-4), ({"hint": "bf16"}, True, 2**-4)],
)
def test_the_coarsest_precision_sets_the_tolerance(tmp_path, settings, int8, share):
    fast = find.engine("openvino")(threads=1, **settings)
    stage = Stage.of(bundles.whole(tmp_path / "whole.onnx", int8=int8), fast)
    make(tmp_path / "b", stages=[stage], cases=samples(200)).close()
    tolerance = json.loads((tmp_path / "b/golden/cases.json").read_text())["tolerance"]["logits"]
    candidates = samples(200).inputs["x"][np.random.default_rng(0).permutation(200)[:16]]
    assert tolerance == pytest.approx(share * np.abs(bundles.answers(candidates)).max(), rel=0.1)  # bf16 and INT8 round


def test_unclear_samples_are_no_golden_cases(tmp_path):
    """Zeros give equal scores: with 7 clear samples among them there is no bundle, with 8 there are exactly those."""
    clear = samples(8).inputs["x"]
    mixed = np.concatenate([np.zeros((20, 6), np.float32), clear])
    with pytest.raises(InputError) as refusal:
        make(tmp_path / "b", cases=Data({"x": mixed[:-1]}))
    assert str(refusal.value) == (
        "fewer than 8 samples have finite outputs and are decided by 10 times the tolerance; "
        "give more data, or let the pipeline answer with tensors"
    )
    assert not (tmp_path / "b").exists()
    make(tmp_path / "b", cases=Data({"x": mixed}))
    chosen = [np.load(f) for f in sorted((tmp_path / "b/golden").glob("*/raw.x.npy"))]
    assert sorted(map(bytes, chosen)) == sorted(map(bytes, clear))
    make(tmp_path / "t", cases=Data({"x": mixed[:-1]}), pipeline=Pipeline())  # a tensor decides nothing


def test_eight_samples_are_needed(tmp_path):
    with pytest.raises(InputError, match="golden cases need 8 samples, and there are 7; give more data"):
        make(tmp_path / "b", cases=samples(7))


def test_a_tensor_name_need_not_be_a_file_name(tmp_path):
    from onnx import helper

    nodes = [helper.make_node("Relu", ["a/../b:0"], ["out put"])]
    path = bundles.save(tmp_path / "odd.onnx", nodes, {"a/../b:0": ["N", 6]}, {"out put": ["N", 6]}, {})
    make(
        tmp_path / "b",
        stages=[Stage.of(path, engine())],
        cases=Data({"a/../b:0": samples().inputs["x"]}),
        pipeline=Pipeline(),
    )
    Bundle.load(tmp_path / "b").close()
    assert (tmp_path / "b/golden/000/raw.0.npy").exists()


def test_a_changed_weight_is_caught_by_the_golden_cases(tmp_path):
    """Whoever changes the model and all digests still faces the answers that were measured."""
    make(tmp_path / "b")
    bundles.whole(tmp_path / "b/model.onnx", seed=1)
    forge(tmp_path / "b")
    with pytest.raises(Unmet) as refusal:
        Bundle.load(tmp_path / "b")
    index = json.loads((tmp_path / "b/golden/cases.json").read_text())
    x, before = (np.load(tmp_path / f"b/golden/000/{n}.npy") for n in ("prepared.x", "output.logits"))
    worst = np.abs(bundles.answers(x, seed=1) - before).max()
    assert str(refusal.value) == (
        f"golden case 000: output 'logits' differs by {worst:.3g}, {index['tolerance']['logits']:.3g} is allowed; "
        "this machine does not give the answers that were measured: run hasten boost on it"
    )
    later = Bundle.load(tmp_path / "b", verify=False)
    with later, pytest.raises(Unmet):
        later.verify()


def replaced(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, array)


def test_replay_names_the_case_and_the_place(tmp_path):
    make(tmp_path / "b")
    golden = tmp_path / "b/golden"
    index, x = json.loads((golden / "cases.json").read_text()), np.load(golden / "005/prepared.x.npy")
    logits = np.load(golden / "005/output.logits.npy")
    nan = np.where(logits == logits.max(), np.nan, logits).astype(np.float32)

    def said() -> str:
        forge(tmp_path / "b")
        with pytest.raises(Unmet) as refusal:
            Bundle.load(tmp_path / "b")
        return refusal.value.what

    for file, array, sentence in (
        ("prepared.x", np.nextafter(x, 9), "golden case 005: the prepared tensor 'x' is not the same"),
        ("output.logits", nan, "golden case 005: output 'logits' differs by nan, "),
        ("output.logits", logits[:, :2], "golden case 005: output 'logits' is float32 [1, 3], it was float32 [1, 2]"),
        ("raw.x", x.astype(np.float64), "golden case 005: the prepared tensor 'x' is not the same"),
    ):
        path = golden / f"005/{file}.npy"
        before = path.read_bytes()
        replaced(path, array)
        assert said().startswith(sentence)
        path.write_bytes(before)

    index["cases"][5]["decision"] = [[7]]
    (golden / "cases.json").write_text(json.dumps(index))
    assert said() == f"golden case 005: the decision is [[{logits.argmax()}]], it was [[7]]"
    path = golden / "005/prepared.x.npy"
    for name in ("raw", "prepared"):
        replaced(golden / f"005/{name}.x.npy", x[:, :5])
    assert said().startswith("golden case 005: it does not run: 'x' has shape [1, 5]")
    path.write_bytes(b"\x93NUMPY of a kind")
    forge(tmp_path / "b")
    with pytest.raises(InputError, match=r"prepared.x.npy is not a .npy file"):
        Bundle.load(tmp_path / "b")


def test_an_output_may_differ_by_its_tolerance_and_no_more(tmp_path):
    make(tmp_path / "b")
    path = tmp_path / "b/golden/000/output.logits.npy"
    before = np.load(path)
    tolerance = json.loads((tmp_path / "b/golden/cases.json").read_text())["tolerance"]["logits"]
    for share, passes in ((0.9, True), (1.1, False)):
        replaced(path, (before + share * tolerance).astype(np.float32))
        forge(tmp_path / "b")
        if passes:
            Bundle.load(tmp_path / "b").close()
        else:
            with pytest.raises(Unmet, match="is allowed"):
                Bundle.load(tmp_path / "b")


def test_threads_never_exceed_the_cores(tmp_path):
    cores = threads()
    make(tmp_path / "b", stages=[Stage.of(bundles.whole(tmp_path / "w.onnx"), engine(threads=cores + 2))])
    with Bundle.load(tmp_path / "b", verify=False) as bundle:
        (stage,) = bundle.stages
        assert stage.engine.threads == cores + 2
        assert stage.settled().threads == cores
    assert replace(stage, engine=engine(1)).settled().threads == 1


@pytest.mark.parametrize(
    ("changed", "kind", "sentence"),
    [
        (
            {"pipeline": Pipeline(window=Window(1.0, 10.0, 1.0))},
            InputError,
            "the window has 10 frames, and the inputs are x float32 [N, 6]; an input with a time axis is "
            "[N, frames, ...]",
        ),
        (
            {"pipeline": Pipeline(answer=Answer("classes", labels=("a",)))},
            InputError,
            "the pipeline has 1 labels, and the first output is logits float32 [N, 3]; give one label for each class",
        ),
        (
            {"measurements": {"speedup": float("nan")}},
            ContractError,
            "the bundle was given a value that JSON has no word for: "
            "Out of range float values are not JSON compliant: nan",
        ),
    ],
)
def test_what_could_not_be_loaded_is_not_written(tmp_path, changed, kind, sentence):
    with pytest.raises(kind) as refusal:
        make(tmp_path / "b", **changed)
    assert str(refusal.value) == sentence
    assert [p.name for p in tmp_path.iterdir()] == ["whole.onnx"]


WINDOW = Window(0.5, 6.0, 0.25)  # three frames


def by_time(folder: Path, batch: int | str = "N") -> list[Stage]:
    """An encoder for each frame, and a head over the mean of a window's features."""
    encoder = Stage.of(bundles.encoder(folder / "encoder.onnx", batch), engine(), "encoder")
    head = Stage.of(bundles.pool(folder / "head.onnx", WINDOW.length), engine(), "head")
    return [replace(encoder, when="frame"), replace(head, when="window")]


@pytest.mark.parametrize("batch", ["N", 1, 4])
def test_a_frame_stage_runs_on_every_frame_of_a_window(tmp_path, batch):
    clips = Data({"x": np.random.default_rng(3).normal(size=(40, 3, bundles.FEATURES)).astype(np.float32)})
    answer = Answer("classes", labels=("a", "b", "c"))
    with make(
        tmp_path / "b", stages=by_time(tmp_path, batch), pipeline=Pipeline(window=WINDOW, answer=answer), cases=clips
    ) as bundle:
        (given,) = bundle.signature.inputs
        assert given.shape[1:] == (3, bundles.FEATURES)
        found = bundle.run({"x": clips.inputs["x"][:5]})["logits"]
    w = bundles.weights()
    features = np.maximum(clips.inputs["x"][:5].astype(np.float64) @ w["body"], 0)
    assert np.abs(found - features.mean(axis=1) @ w["head"]).max() < EXACT


class Whole(Compiled):
    """One sum over all samples."""

    def run(self, feed):
        return {"y": feed["x"].sum(axis=0, keepdims=True)}

    def layers(self) -> list[Layer]:
        return []


def test_a_frame_stage_answers_for_every_frame():
    signature = Signature((Tensor("x", "float32", ("N", 4)),), (Tensor("y", "float32", (1, 4)),))
    stage = Stage("encoder", Path("encoder.onnx"), engine(), signature, when="frame")
    with pytest.raises(InputError) as refusal:
        run(stage, Session(Whole(), signature), {"x": np.zeros((2, 3, 4), np.float32)})
    said = "stage 'encoder' runs by frame, and gives 'y' [1, 4] for 6 frames; give outputs with a row for each frame"
    assert str(refusal.value) == said


def test_outputs_have_to_be_those_of_the_bundle(tmp_path):
    make(tmp_path / "b")

    def shorter(data):
        data["signature"]["outputs"][0]["shape"] = ["N", 2]
        data["pipeline"]["answer"]["labels"] = []

    bundles.forge(tmp_path / "b", shorter)
    with Bundle.load(tmp_path / "b", verify=False) as bundle, pytest.raises(InputError) as refusal:
        bundle(samples(2).inputs)
    assert str(refusal.value) == "'logits' has shape [2, 3]; logits float32 [N, 2] is expected"


def test_a_frame_stage_wants_a_window(tmp_path):
    with pytest.raises(InputError) as refusal:
        make(tmp_path / "b", stages=by_time(tmp_path))
    assert str(refusal.value).startswith("stage 'encoder' runs by 'frame', and the pipeline has no window; ")


def test_a_later_stage_answers_where_an_earlier_one_is_not_sure(tmp_path):
    """A quick network with other weights, and `whole` for the samples of which it is not sure."""
    quick = Stage.of(bundles.whole(tmp_path / "quick.onnx", seed=7), engine(), "quick")
    careful = Stage.of(bundles.whole(tmp_path / "careful.onnx", batch=2), engine(), "careful")
    cascade = [quick, replace(careful, when="unless", unless=Unless("logits", "softmax", 0.9))]
    x = bundles.samples().inputs["x"]
    with make(tmp_path / "b", stages=cascade) as bundle:
        found = bundle.run({"x": x})["logits"]
        assert bundle.run({"x": x[:1]})["logits"].shape == (1, bundles.CLASSES)
    first = bundles.answers(x, seed=7)
    powers = np.exp(first - first.max(axis=1, keepdims=True))
    sure = (powers / powers.sum(axis=1, keepdims=True)).max(axis=1) >= 0.9
    assert 5 < sure.sum() < 35
    assert np.abs(found - np.where(sure[:, None], first, bundles.answers(x))).max() < EXACT


@pytest.mark.parametrize(
    ("unless", "sentence"),
    [
        (Unless("doubt", "softmax", 0.9), "stage 'careful' looks at 'doubt', which nothing before it gives; "),
        (
            Unless("features", "softmax", 0.9),
            "stage 'careful' is left out at times, and nothing before it gives logits float32 [N, 3]; ",
        ),
    ],
)
def test_a_stage_that_is_left_out_needs_something_in_its_place(tmp_path, unless, sentence):
    first = Stage.of(bundles.encoder(tmp_path / "encoder.onnx"), engine(), "encoder")
    second = Stage.of(bundles.head(tmp_path / "head.onnx"), engine(), "careful")
    with pytest.raises(InputError) as refusal:
        make(tmp_path / "b", stages=[first, replace(second, when="unless", unless=unless)])
    assert str(refusal.value).startswith(sentence)


def test_a_folder_that_is_no_bundle_is_left_alone(tmp_path):
    precious = tmp_path / "b/thesis.txt"
    precious.parent.mkdir()
    precious.write_text("ten years of work")
    with pytest.raises(InputError) as refusal:
        make(tmp_path / "b")
    assert str(refusal.value) == f"{tmp_path}/b exists and is not a bundle; choose another folder"
    assert precious.read_text() == "ten years of work"
    assert not is_bundle(tmp_path / "b")


def test_a_bundle_or_an_empty_folder_is_replaced(tmp_path):
    (tmp_path / "b").mkdir()
    make(tmp_path / "b", recipe="first")
    make(tmp_path / "b", recipe="second")
    assert is_bundle(tmp_path / "b")
    with Bundle.load(tmp_path / "b") as bundle:
        assert bundle.recipe == "second"


def test_a_fault_while_writing_leaves_the_old_bundle(tmp_path, monkeypatch):
    make(tmp_path / "b", recipe="old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(InputError, match="the disk is full"):
        make(tmp_path / "b", recipe="new")
    monkeypatch.undo()
    assert Bundle.load(tmp_path / "b").recipe == "old"
    assert not list(tmp_path.glob(".*"))


def paths() -> dict[str, str]:
    """The environment of a child that finds hasten's sources and the tests' own modules."""
    ours = [str(Path(files.__file__).parents[1]), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(ours)}


KILLED = """
import os, signal, sys
from pathlib import Path
import bundles
from hasten import manifest
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
manifest.write = die
bundles.make(Path(sys.argv[1]), recipe="new")
"""


def test_kill_leaves_the_old_bundle(tmp_path):
    make(tmp_path / "b", recipe="old")
    child = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "b"], env=paths(), check=False)
    assert child.returncode == -signal.SIGKILL
    assert list(tmp_path.glob(".b.*.aside"))  # it was killed in the middle
    with Bundle.load(tmp_path / "b") as bundle:
        assert bundle.recipe == "old"


BARE = """
import sys
for name in ("torch", "onnx", "openvino", "rich", "jinja2"):
    sys.modules[name] = None
import numpy as np
from hasten import Bundle
with Bundle.load(sys.argv[1]) as bundle:
    print(bundle.answer({"x": np.load(sys.argv[2])}))
"""


def test_runs_with_numpy_and_its_engine_alone(tmp_path):
    make(tmp_path / "b")
    x = samples(4).inputs["x"]
    np.save(tmp_path / "x.npy", x)
    child = subprocess.run(
        [sys.executable, "-c", BARE, tmp_path / "b", tmp_path / "x.npy"],
        env=paths(),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr
    assert json.loads(child.stdout) == [[int(c)] for c in bundles.answers(x).argmax(1)]
