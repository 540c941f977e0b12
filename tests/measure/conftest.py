"""A small network and real inputs for it."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import network

from hasten.data import Data
from hasten.measure import lock


@pytest.fixture(autouse=True)
def own_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tests do not wait for a real measurement, nor hold one up: no time that they take is a figure."""
    monkeypatch.setattr(lock, "LOCK", tmp_path / "lock")
    return tmp_path / "lock"


@pytest.fixture(scope="session")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("net") / "net.onnx"
    onnx.save(network(), path)
    return path


@pytest.fixture(scope="session")
def feed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """45 samples: no multiple of a batch."""
    folder = tmp_path_factory.mktemp("feed")
    images = np.random.default_rng(1).normal(size=(45, 1, 8, 8)).astype(np.float32)
    Data({"image": images}).save(folder)
    return folder
