"""The public list is true, and importing it costs nothing."""

import subprocess
import sys
import time
from importlib.util import find_spec

import pytest

import hasten


@pytest.mark.parametrize("name", hasten.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert find_spec(f"hasten.{hasten._PUBLIC[name]}") is not None
    for _ in range(2):  # the submodule of the same name, once imported, may not take its place
        assert getattr(hasten, name).__name__ == name
    assert name in dir(hasten)


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        hasten.nonsense  # noqa: B018


def test_import_is_light() -> None:
    heavy = "torch onnx onnxruntime openvino nncf numpy"
    code = f"import sys, hasten; found = set('{heavy}'.split()) & set(sys.modules); assert not found, found"
    times = []
    for _ in range(3):
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", code], check=True)
        times.append(time.monotonic() - began)
    assert min(times) < 1.0
