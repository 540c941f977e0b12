"""A tiny trained-like network and its data, as a torch task and as an ONNX file, for every test."""

from pathlib import Path

import pytest
from tiny import tiny_data, tiny_module

from hasten.task import Task


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory):
    """Tests share a cache of their own and never touch the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HASTEN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny_task() -> Task:
    """A torch task; calibrate, validate and test data of 64, 200 and 200 samples."""
    module = tiny_module()
    calibrate, validate, test = (tiny_data(n, seed) for n, seed in ((64, 2), (200, 3), (200, 4)))
    return Task("tiny", lambda: module, "top1", calibrate=calibrate, validate=validate, test=test)


@pytest.fixture(scope="session")
def tiny_onnx(tiny_task: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network as an ONNX file with a free batch axis."""
    from hasten.export import export

    return export(tiny_task.original, tiny_task.sample()).model.save(tmp_path_factory.mktemp("onnx") / "tiny.onnx").path


@pytest.fixture(scope="session")
def tiny_onnx_task(tiny_onnx: Path, tiny_task: Task) -> Task:
    """The second door: the ONNX file with the same data."""
    return Task(
        "tiny",
        tiny_onnx,
        "top1",
        calibrate=tiny_task.split("calibrate"),
        validate=tiny_task.split("validate"),
        test=tiny_task.split("test"),
    )
