"""A tiny trained-like network and its data, as a torch task and as an ONNX file, for every test."""

from pathlib import Path

import numpy as np
import pytest

from hasten.data import Data
from hasten.task import Task

CLASSES, SIDE = 4, 8


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory):
    """Tests share a cache of their own and never touch the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HASTEN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def tiny_data(n: int, seed: int) -> Data:
    """Quadrants, of which the label names the bright one. Input `image` f32 [n, 1, 8, 8], target int64 [n]."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, CLASSES, n)
    image = rng.normal(0, 0.3, (n, 1, SIDE, SIDE)).astype(np.float32)
    for i, label in enumerate(target):
        row, column = divmod(int(label), 2)
        image[i, 0, row * 4:row * 4 + 4, column * 4:column * 4 + 4] += 1
    return Data({"image": image}, target)


def tiny_module():
    """conv-bn-relu, conv-relu, pool to 2x2, linear: weights set so that it really tells the quadrants apart."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    net = nn.Sequential()
    net.add_module("stem", nn.Conv2d(1, 8, 3, padding=1, bias=False))
    net.add_module("norm", nn.BatchNorm2d(8))
    net.add_module("act", nn.ReLU())
    net.add_module("body", nn.Conv2d(8, 16, 3, padding=1))
    net.add_module("act2", nn.ReLU())
    net.add_module("pool", nn.AdaptiveAvgPool2d(2))
    net.add_module("flat", nn.Flatten())
    net.add_module("head", nn.Linear(64, CLASSES))
    net.train()
    data = tiny_data(256, 1)
    x, y = torch.from_numpy(data.inputs["image"]), torch.from_numpy(data.target)
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(30):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    return net.eval()


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
    return Task("tiny", tiny_onnx, "top1", calibrate=tiny_task.split("calibrate"), validate=tiny_task.split("validate"),
                test=tiny_task.split("test"))
