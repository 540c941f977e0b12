"""The workshop: what a run makes is its own, and what it never measured is not left behind."""

from pathlib import Path

import pytest

from hasten.errors import InputError
from hasten.search.workshop import Workshop
from hasten.task import Task


def _fails(task: Task, folder: Path) -> None:
    with Workshop(task, folder) as shop:
        shop.begin({}, resume=False)
        raise InputError("the model cannot be exported", "mend it")


def test_a_new_run_uses_nothing_of_the_one_before(tmp_path: Path, tiny_onnx_task: Task) -> None:
    """Files are named after recipes alone, so those of another model must not be there."""
    with Workshop(tiny_onnx_task, tmp_path / "t") as shop:
        shop.begin({}, resume=False)
        made, feed = shop.base, shop.feed("validate")
        (shop.folder / "tested.json").write_text("{}")
        shop.store.finish()
    with Workshop(tiny_onnx_task, tmp_path / "t") as shop:
        shop.begin({}, resume=True)
        assert made.exists()
        assert feed.exists()
        shop.begin({}, resume=False)
        assert not made.exists()
        assert not feed.exists()
        assert not (shop.folder / "tested.json").exists()


def test_a_folder_of_other_things_is_not_taken(tmp_path: Path, tiny_onnx_task: Task) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds files that are not of a run"):
        Workshop(tiny_onnx_task, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_what_was_never_measured_leaves_nothing(tmp_path: Path, tiny_onnx_task: Task) -> None:
    """The mended call begins anew."""
    with pytest.raises(InputError, match="cannot be exported"):
        _fails(tiny_onnx_task, tmp_path / "t")
    assert not (tmp_path / "t").exists()
