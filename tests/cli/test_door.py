"""The two doors, and who is turned away at them."""

from pathlib import Path

import bundles
import numpy as np
import pytest

from hasten.cli._door import task_of
from hasten.errors import InputError, UsageError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """An ONNX file with labelled and unlabelled samples beside it."""
    samples = bundles.samples()
    np.savez(tmp_path / "v.npz", **samples.inputs, target=np.zeros(len(samples), np.int64))
    np.savez(tmp_path / "unlabelled.npz", **samples.inputs)
    return bundles.whole(tmp_path / "whole.onnx")


def test_a_task_file(tmp_path: Path) -> None:
    (tmp_path / "task.py").write_text("from hasten import Task\ntask = Task('t', lambda: None, 'top1')\n")
    assert task_of(str(tmp_path / "task.py"), validate=None, metric=None).name == "t"


def test_a_task_file_brings_its_own_data(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--validate is for ONNX files"):
        task_of(str(tmp_path / "task.py"), metric=None, validate="v.npz")


def test_an_onnx_file_and_its_data(file: Path) -> None:
    task = task_of(str(file), validate=str(file.with_name("v.npz")), metric="top1", test=None)
    assert (task.name, task.measure.name, task.test) == ("whole", "top1", None)
    assert len(task.split("validate")) == len(bundles.samples())


def test_without_labels_it_is_agreement(file: Path) -> None:
    assert task_of(str(file), validate=str(file.with_name("unlabelled.npz"))).measure.name == "agreement"


def test_labels_without_a_meaning_are_refused(file: Path) -> None:
    with pytest.raises(UsageError, match="add --metric top1"):
        task_of(str(file), validate=str(file.with_name("v.npz")))


def test_an_unknown_metric_is_refused_at_the_door(file: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'cosine'"):
        task_of(str(file), metric="cosin")


@pytest.mark.parametrize(("name", "sentence"), [("no.onnx", "does not exist"), ("", "is a folder"), ("no.py", "no.py")])
def test_what_is_not_there(name: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=sentence):
        task_of(str(tmp_path / name))


def test_what_is_not_onnx_stops_at_the_gate(tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(InputError, match="PyTorch"):
        _ = task_of(str(tmp_path / "m.pt")).original
