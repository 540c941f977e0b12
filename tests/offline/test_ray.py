"""The same job on Ray: the same rows, and an end though a worker is killed in the middle."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import bundles
import numpy as np
import psutil
import pytest
from test_job import PLAN, archive, errors, rows

from hasten.errors import InputError, UsageError
from hasten.offline import job
from hasten.offline.inputs import Place
from hasten.offline.ray import actors, sent


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    bundles.make(tmp_path / "bundle").close()
    return tmp_path / "bundle"


def processes(since: float) -> list[psutil.Process]:
    """Processes of Ray that answer shards, and were started since then."""
    found = psutil.process_iter(["cmdline", "create_time"])
    told = [(p, " ".join(p.info["cmdline"] or ())) for p in found if p.info["create_time"] >= since - 1]
    return [p for p, said in told if "ray::" in said and "Map" in said]


@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_ray_gives_the_same_rows_though_a_worker_is_killed(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "best_way", lambda *_: dict(PLAN))
    x = archive(tmp_path / "x.npz", 3000, r7=np.nan)
    job.run(bundle, [str(x)], tmp_path / "local")
    killed: list[int] = []
    began = time.time()

    def kill() -> None:
        over = time.monotonic() + 120
        while not killed and time.monotonic() < over:
            if len(list((tmp_path / "ray").glob("part-*"))) >= 2:
                for process in processes(began)[:1]:
                    os.kill(process.pid, signal.SIGKILL)
                    killed.append(process.pid)
            time.sleep(0.05)

    killer = threading.Thread(target=kill)
    killer.start()
    result = job.run(bundle, [str(x)], tmp_path / "ray", on="ray")
    killer.join()
    assert killed
    assert result["rows"] == 2999
    assert rows(tmp_path / "ray") == rows(tmp_path / "local")
    assert errors(tmp_path / "ray") == errors(tmp_path / "local")


def test_actors_are_somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    row = sent(3, [Place("a.png", "a.png"), Place("x.npz#0", "x.npz", 0)], Path("out/part"))
    assert row["path"] == str(tmp_path / "out" / "part")
    assert [Place(*p) for p in json.loads(row["places"])] == [
        Place("a.png", str(tmp_path / "a.png")),
        Place("x.npz#0", str(tmp_path / "x.npz"), 0),
    ]


def test_a_cluster_is_used_as_far_as_there_are_cores() -> None:
    """A plan is of the machine that asks."""
    assert actors({"workers": 1, "threads": 8}, 800.0) == 100
    assert actors({"workers": 8, "threads": 1}, 800.0) == 800
    assert actors({"workers": 8, "threads": 1}, None) == 8
    assert actors({"workers": 1, "threads": 0}, 800.0) == 1  # a small job


def test_no_cluster_there(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no Ray cluster"):
        job.run(bundle, [str(archive(tmp_path / "x.npz", 9))], tmp_path / "out", on="ray=127.0.0.1:1")
    with pytest.raises(UsageError, match="'local'"):
        job.run(bundle, [str(tmp_path / "x.npz")], tmp_path / "out", on="locally")
