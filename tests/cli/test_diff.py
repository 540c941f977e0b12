"""hasten diff, from the command line: the layer that differs is named, the exit code says whether any does."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from jsonschema import Draft202012Validator

from deep import deep
from hasten import manifest
from hasten.cli import main
from tampered import plant

SPEC = Path(__file__).parents[2] / "spec"
BUNDLE = SPEC / "golden" / "classifier"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A network, the same with a fault, and in which node it is."""
    folder = tmp_path_factory.mktemp("files")
    whole = deep(2)
    bad, planted = plant(whole.proto, "a wrong dilation")
    onnx.save(whole.proto, folder / "whole.onnx")
    onnx.save(bad, folder / "bad.onnx")
    return folder / "whole.onnx", folder / "bad.onnx", planted


def call(*words: object) -> int:
    return main(["diff", *map(str, words)])


def test_a_fault_is_named_and_the_answer_is_no(
    files: tuple[Path, Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, bad, planted = files
    np.savez(tmp_path / "d.npz", x=np.random.default_rng(0).normal(size=(6, 3, 12, 12)).astype(np.float32))
    assert call(whole, bad, "--data", tmp_path / "d.npz", "--json", tmp_path / "r.json") == 1
    found: dict[str, Any] = json.loads((tmp_path / "r.json").read_text())
    manifest.validate(found, "diff", tmp_path)
    assert found["first"]["nodes"] == [planted]
    assert found["worst"][0] == found["first"]
    assert (found["cause"], found["same"], found["samples"], found["layer_samples"]) == ("layer", False, 6, 4)
    assert found["tolerance"] == 2**-13
    shown = capsys.readouterr()
    assert f"{planted} (Conv) differs by" in shown.out
    assert f"{planted} (Conv) differs by" in shown.err


def test_within_a_tolerance_that_is_named_it_is_the_same(files: tuple[Path, Path, str], tmp_path: Path) -> None:
    whole, bad, planted = files
    assert call(whole, bad, "--tolerance", "10", "-q", "--json", tmp_path / "r.json") == 0
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["same"]
    assert found["first"] is None
    assert found["worst"][0]["nodes"] == [planted]


def test_one_file_in_two_precisions(files: tuple[Path, Path, str], tmp_path: Path) -> None:
    told = tmp_path / "r.json"
    engines = ("--engine", "openvino(hint=bf16)", "--engine", "onnxruntime")
    assert call(files[0], files[0], *engines, "--json", told, "-q") == 0
    found = json.loads(told.read_text())
    manifest.validate(found, "diff", tmp_path)
    assert (found["reference"]["precision"], found["other"]["precision"]) == ("f32", "bf16")
    assert found["tolerance"] == 2**-4


def test_a_bundle_and_a_model(tmp_path: Path) -> None:
    bad, planted = plant(onnx.load(BUNDLE / "model.onnx"), "a weight nudged")
    onnx.save(bad, tmp_path / "bad.onnx")
    assert call(BUNDLE, tmp_path / "bad.onnx", "-q", "--json", tmp_path / "r.json") == 1
    found = json.loads((tmp_path / "r.json").read_text())
    manifest.validate(found, "diff", tmp_path)
    assert planted in (*found["first"]["nodes"], found["first"]["tensor"])
    assert found["reference"]["engine"].startswith("openvino")


def test_what_cannot_be_compared(
    files: tuple[Path, Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = files[0]
    (tmp_path / "no.onnx").write_text("this is no model")
    assert call(whole, tmp_path / "no.onnx") == 3
    assert call(whole, tmp_path / "gone.onnx") == 3
    assert call(whole, whole, "--engine", "torch") == 2
    assert call(whole, whole, "--engine", "nothing") == 2
    assert call(whole, whole, "--engine", "openvino(threads=x)") == 2
    assert call(whole, whole, "--engine", "openvino(hint=f31)") == 3
    assert call(whole, whole, *["--engine", "onnxruntime"] * 3) == 2
    assert call(whole, whole, "--tolerance", "0") == 2
    shutil.copytree(BUNDLE, tmp_path / "bundle")
    (tmp_path / "bundle" / "model.onnx").write_bytes(b"")
    assert call(whole, tmp_path / "bundle") == 3
    errors = capsys.readouterr().err
    assert "runs torch models; name another for" in errors
    assert "is not a number above 0" in errors
    assert "Traceback" not in errors


def test_the_schema_is_closed_and_whole() -> None:
    schema = json.loads((SPEC / "diff.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    waiting: list[Any] = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if "properties" in part and part.get("type") == "object":
                assert part["additionalProperties"] is False
                assert set(part["required"]) == set(part["properties"])
                assert all("description" in p or "$ref" in p for p in part["properties"].values())
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
