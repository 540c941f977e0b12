"""A bundle that tells when it is bright, and films for it."""

from pathlib import Path

import numpy as np
import pytest
from films import TICKS, film, steady, watcher
from told import LIGHT, built

from hasten import Bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return watcher(tmp_path_factory.mktemp("watcher"))


@pytest.fixture(scope="session")
def hasten_watch() -> None:
    """For tests of hasten-watch."""
    built()


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five seconds each, bright from 1 to 2 and from 3 to 4: steady, variable, with holes, each frame twice."""
    place, rng = tmp_path_factory.mktemp("films"), np.random.default_rng(1)
    film(place / "steady.mp4", steady(5), LIGHT)
    ticks = np.cumsum(rng.integers(TICKS * 8 // 1000, TICKS * 40 // 1000, 300))
    film(place / "variable.mp4", [int(t) for t in ticks if t < 5 * TICKS], LIGHT)
    kept = [t for i, t in enumerate(steady(5)) if i == 0 or rng.random() > 0.2]
    film(place / "holes.mp4", kept, LIGHT)
    film(place / "twice.mp4", steady(5), lambda t: LIGHT(np.floor(t * 30 + 1e-6) / 30), noise=0)
    film(place / "steady.ts", steady(5), LIGHT, format_name="mpegts")
    return place
