"""The C++ runner beside Python: the same prepared bytes, outputs and decisions; and what it says when they are not."""

import subprocess
from dataclasses import replace
from pathlib import Path

import bundles
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hasten import cpp
from hasten.answer import Answer
from hasten.bundle import Bundle
from hasten.cli import main
from hasten.data import Data
from hasten.diagnose.parity import parity
from hasten.errors import InputError, MissingError
from hasten.find import engine
from hasten.pipeline import Pipeline
from hasten.prepare import Prepare
from hasten.stage import Stage

LABELS = ("a", "b", "c")
PHOTO = Prepare("image", size=(8, 12), fit="letterbox", mean=(120.0, 110.0, 100.0), std=(60.0, 61.0, 62.0))
CROPPED = Prepare("image", source="NV12", crop=(2, 2, 20, 30), size=(8, 12), filter="bicubic", fit="centre_crop")
GREY = Prepare("image", source="grey", colour="grey", layout="NHWC", dtype="float32")


def openvino(**settings):
    return engine("openvino")(threads=1, **settings)


def network(path: Path, how: Prepare) -> Path:
    """image [N, ...], flattened, times a matrix -> logits [N, 3]."""
    channels = 1 if how.colour == "grey" else 3
    shape = [channels, 8, 12] if how.layout == "NCHW" else [8, 12, channels]
    weights = np.random.default_rng(0).normal(size=(96 * channels, 3)).astype(np.float32)
    nodes = [helper.make_node("Flatten", ["image"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["logits"])]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", *shape])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(weights, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def raw(how: Prepare) -> np.ndarray:
    shape = {"RGB": (21, 33, 3), "NV12": (36, 34), "grey": (8, 12)}[how.source]
    return np.random.default_rng(2).integers(0, 256, (64, *shape), dtype=np.uint8)


def image_bundle(folder: Path, how: Prepare) -> Bundle:
    pipeline = Pipeline({"image": how}, answer=Answer("classes", labels=LABELS))
    stage = Stage.of(network(folder / "net.onnx", how), openvino())
    return bundles.make(folder / "b", stages=[stage], pipeline=pipeline, cases=Data({"image": raw(how)}))


@pytest.mark.parametrize("how", [PHOTO, CROPPED, GREY], ids=["letterbox", "video", "grey"])
def test_images_are_prepared_alike(tmp_path: Path, how: Prepare) -> None:
    """Outputs are equal to the bit, on the same engine with the same settings."""
    with image_bundle(tmp_path, how) as bundle:
        assert parity(bundle) == ""
        np.save(tmp_path / "raw.npy", raw(how))
        (tmp_path / "out").mkdir()
        told = cpp.answers(bundle.folder, str(tmp_path / "raw.npy"), "--outputs", tmp_path / "out")
        expected = bundle.run({"image": raw(how)})
        assert np.load(tmp_path / "out" / "0.npy").tobytes() == expected["logits"].tobytes()
        assert [line["decision"] for line in told] == bundle.pipeline.decide(expected)
        assert all(line["labels"] == [LABELS[i] for i in line["decision"]] for line in told)


@pytest.mark.parametrize(
    "settings", [{}, {"hint": "bf16"}, {"transforms": False}], ids=["f32", "bf16", "untransformed"]
)
def test_arrays_are_answered_alike(tmp_path: Path, settings: dict) -> None:
    stage = Stage.of(bundles.whole(tmp_path / "int8.onnx", int8=True), openvino(**settings))
    with bundles.make(tmp_path / "b", stages=[stage], cases=bundles.samples(400)) as bundle:
        assert parity(bundle) == ""


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"mean": (120.0, 110.0, 101.0)}, "the prepared tensor 'image' is not the same"),
        ({"filter": "bicubic"}, "the prepared tensor 'image' is not the same"),
        ({"colour": "BGR"}, "the prepared tensor 'image' is not the same"),
    ],
)
def test_the_first_stage_that_differs_is_named(tmp_path: Path, changed: dict, said: str) -> None:
    """Python is made to prepare otherwise than the bundle says, and C++ does as it says."""
    with image_bundle(tmp_path, PHOTO) as bundle:
        other = replace(bundle, pipeline=replace(bundle.pipeline, inputs={"image": replace(PHOTO, **changed)}))
        assert said in parity(other)
        other.close()


def test_the_verbs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with image_bundle(tmp_path, PHOTO) as bundle:
        assert main(["build", str(bundle.folder)]) == 0
        assert str(cpp.get_cmake_path()) in capsys.readouterr().out
        assert main(["verify", str(bundle.folder), "--cpp"]) == 0
        assert main(["verify", str(bundle.folder), "--cpp", "--seed", "5", "-q"]) == 0


def test_an_engine_that_the_build_lacks_is_named(tmp_path: Path) -> None:
    with bundles.make(tmp_path / "b") as bundle, pytest.raises(MissingError, match="onnxruntime"):
        parity(bundle)


def test_a_changed_byte_is_refused(tmp_path: Path) -> None:
    with image_bundle(tmp_path, PHOTO) as bundle:
        file = bundle.folder / "model.onnx"
        file.write_bytes(file.read_bytes()[:-1] + b"\0")
        with pytest.raises(InputError, match=r"model\.onnx was changed"):
            cpp.call(bundle.folder, "--load")


def test_a_program_of_ones_own_finds_it(tmp_path: Path) -> None:
    """examples/cpp, with find_package(hasten)."""
    source = Path(__file__).parents[1] / "examples" / "cpp"
    configure = [cpp._tool("cmake"), "-S", source, "-B", tmp_path / "made", f"-Dhasten_DIR={cpp.get_cmake_path()}"]
    for command in (configure, [cpp._tool("cmake"), "--build", tmp_path / "made"]):
        subprocess.run(command, check=True, capture_output=True)
    with image_bundle(tmp_path, PHOTO) as bundle:
        ended = subprocess.run([tmp_path / "made" / "classify", bundle.folder], capture_output=True, text=True)
    assert ended.returncode == 0
    assert ended.stdout.count("case ") == 8
    assert {word for line in ended.stdout.splitlines() for word in line.split()} & set(LABELS)
