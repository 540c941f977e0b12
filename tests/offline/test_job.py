"""A job answers every sample once: after kills, with bad samples, with engines that die, on a full disk."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import bundles
import dying
import numpy as np
import pytest

from hasten.bundle import Bundle
from hasten.child import ChildDied
from hasten.errors import InputError, Unmet
from hasten.offline import hand, job
from hasten.offline.inputs import Place

GOLDEN = Path(__file__).parents[2] / "spec" / "golden"
PLAN = {"workers": 2, "threads": 1, "batch": 16, "per_s": 1.0}  # small shards, and no sweep


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    bundles.make(tmp_path / "bundle").close()
    return tmp_path / "bundle"


@pytest.fixture
def same_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "best_way", lambda *_: dict(PLAN))


def archive(path: Path, count: int = 600, **changed: float) -> Path:
    """`changed`: row -> a value put into it."""
    x = np.random.default_rng(5).normal(size=(count, bundles.FEATURES)).astype(np.float32)
    for row, value in changed.items():
        x[int(row.removeprefix("r")), 0] = value
    np.savez(path, x=x)
    return path


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for part in sorted(out.glob("part-*.jsonl")) for line in part.read_text().splitlines()]


def errors(out: Path) -> dict[str, str]:
    return {e["id"]: e["reason"] for e in map(json.loads, (out / "errors.jsonl").read_text().splitlines())}


def test_every_sample_is_answered_as_the_bundle_answers(bundle: Path, tmp_path: Path, same_plan: None) -> None:
    x = archive(tmp_path / "x.npz")
    result = job.run(bundle, [str(x)], tmp_path / "out", job.Options(tensors=True))
    assert (result["samples"], result["rows"], result["errors"], result["parts"]) == (600, 600, 0, 10)
    found = rows(tmp_path / "out")
    assert [r["id"] for r in found] == [f"{x}#{i}" for i in range(600)]
    with Bundle.load(bundle) as whole:
        feed = {"x": np.load(x)["x"]}
        outputs, decisions = whole.run(feed)["logits"], whole.answer(feed)
    assert [r["answer"] for r in found] == decisions
    assert [r["label"] for r in found] == [["abc"[i] for i in d] for d in decisions]
    assert np.allclose([r["logits"] for r in found], outputs, atol=1e-5)
    assert np.allclose([r["score"][0] for r in found], outputs.max(axis=1), atol=1e-5)
    assert {r["bundle"] for r in found} == {result["bundle"]}
    assert json.loads((tmp_path / "out" / "job.json").read_text()) == result


def test_parquet_holds_the_same(bundle: Path, tmp_path: Path) -> None:
    from pyarrow import parquet

    x = archive(tmp_path / "x.npz", 40)
    job.run(bundle, [str(x)], tmp_path / "lines", job.Options(tensors=True))
    job.run(bundle, [str(x)], tmp_path / "table", job.Options("parquet", tensors=True))
    table = parquet.read_table(tmp_path / "table" / "part-000000.parquet")
    assert table.to_pylist() == rows(tmp_path / "lines")


@pytest.mark.parametrize("name", ["detector", "video", "grey", "cascade"])
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_answers_of_every_kind(tmp_path: Path, name: str, form: Any) -> None:
    with Bundle.load(GOLDEN / name) as whole:
        raw = [whole.golden.raw(whole.folder, i) for i in range(len(whole.golden.cases))]
        alike = [r for r in raw if {k: a.shape for k, a in r.items()} == {k: a.shape for k, a in raw[0].items()}]
        feed = {k: np.concatenate([r[k] for r in alike]) for k in alike[0]}
        decisions = whole.answer(feed)
    np.savez(tmp_path / "x.npz", **feed)
    job.run(GOLDEN / name, [str(tmp_path / "x.npz")], tmp_path / "out", job.Options(form))
    if form == "jsonl":
        found = rows(tmp_path / "out")
    else:
        from pyarrow import parquet

        found = parquet.read_table(tmp_path / "out" / "part-000000.parquet").to_pylist()
    assert len(found) == len(alike)
    assert [r.get("answer") for r in found] == decisions
    for row in found if name == "detector" else []:
        assert len(row["box"]) == len(row["score"]) == len(row["label"]) == len(row["answer"])


def test_bad_samples_cost_their_own_answer(bundle: Path, tmp_path: Path, same_plan: None) -> None:
    x = archive(tmp_path / "x.npz", r7=np.nan, r300=np.inf)
    result = job.run(bundle, [str(x)], tmp_path / "out")
    assert (result["rows"], result["errors"]) == (598, 2)
    assert set(errors(tmp_path / "out")) == {f"{x}#7", f"{x}#300"}
    clean = job.run(bundle, [str(archive(tmp_path / "y.npz"))], tmp_path / "clean")
    assert clean["errors"] == 0
    answers = [{**r, "id": r["id"].rpartition("#")[2]} for r in rows(tmp_path / "clean")]
    assert [{**r, "id": r["id"].rpartition("#")[2]} for r in rows(tmp_path / "out")] == [
        a for a in answers if a["id"] not in ("7", "300")
    ]


def test_too_many_bad_samples(bundle: Path, tmp_path: Path, same_plan: None) -> None:
    x = archive(tmp_path / "x.npz", r7=np.nan, r300=np.inf)
    with pytest.raises(Unmet, match="2 samples cannot be answered, more than 1"):
        job.run(bundle, [str(x)], tmp_path / "out", job.Options(errors_max=1))
    assert set(errors(tmp_path / "out")) == {f"{x}#7", f"{x}#300"}
    assert not (tmp_path / "out" / "job.json").exists()
    result = job.run(bundle, [str(x)], tmp_path / "out", job.Options(errors_max=2), resume=True)
    assert result["errors"] == 2


def test_the_sample_of_which_an_engine_dies_is_found(
    bundle: Path, tmp_path: Path, same_plan: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hand, "WORKER", "dying:Dying")
    x = archive(tmp_path / "x.npz", 200, r70=dying.DEADLY, r71=dying.DEADLY, r199=dying.DEADLY)
    result = job.run(bundle, [str(x)], tmp_path / "out")
    assert result["rows"] == 197
    assert set(errors(tmp_path / "out")) == {f"{x}#70", f"{x}#71", f"{x}#199"}
    assert all("SIGSEGV" in reason for reason in errors(tmp_path / "out").values())


def test_a_worker_that_dies_of_other_samples_each_time(tmp_path: Path) -> None:
    """The sentence has the last reason: it is in no journal yet."""

    class Unlucky(hand.Hand):
        def _call(self, *_: Any, **__: Any) -> Any:
            raise ChildDied("a death")

        def _guilty(self, positions: list[int], places: Sequence[Place], known: Mapping[int, str]) -> dict[int, str]:
            return {len(known): f"reason {len(known)}"}

    places = [Place(str(i), "x.npz", i) for i in range(4)]
    with pytest.raises(ChildDied, match=r"dies of part\.jsonl, less 3 of its samples too \(reason 2\)"):
        Unlucky({}, 1).shard(places, tmp_path / "part.jsonl")


def test_a_job_that_is_here(bundle: Path, tmp_path: Path, same_plan: None) -> None:
    x, y = archive(tmp_path / "x.npz"), archive(tmp_path / "y.npz", 700)
    job.run(bundle, [str(x)], tmp_path / "out")
    with pytest.raises(InputError, match="holds a job"):
        job.run(bundle, [str(x)], tmp_path / "out")
    with pytest.raises(InputError, match="another inputs"):
        job.run(bundle, [str(y)], tmp_path / "out", resume=True)
    with pytest.raises(InputError, match="another options"):
        job.run(bundle, [str(x)], tmp_path / "out", job.Options(tensors=True), resume=True)
    bundles.make(tmp_path / "other", recipe="half").close()
    with pytest.raises(InputError, match="another bundle"):
        job.run(tmp_path / "other", [str(x)], tmp_path / "out", resume=True)
    with pytest.raises(InputError, match="holds no job"):
        job.run(bundle, [str(x)], bundle)


def test_a_part_that_was_changed_is_made_again(bundle: Path, tmp_path: Path, same_plan: None) -> None:
    x, out = archive(tmp_path / "x.npz"), tmp_path / "out"
    job.run(bundle, [str(x)], out)
    before = rows(out)
    (out / "part-000003.jsonl").write_text("{}\n")
    (out / "part-000005.jsonl").unlink()
    job.run(bundle, [str(x)], out, resume=True)
    assert rows(out) == before
    (out / "part-000099.jsonl").write_text("")
    with pytest.raises(InputError, match="part-000099"):
        job.run(bundle, [str(x)], out, resume=True)


def test_a_full_disk(bundle: Path, tmp_path: Path, same_plan: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, in the one atomic writer of the job's own process, when all parts are there."""
    x, out, write = archive(tmp_path / "x.npz"), tmp_path / "out", Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if "errors.jsonl" in path.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(InputError, match="the disk is full"):
            job.run(bundle, [str(x)], out)
    assert not (out / "job.json").exists()
    assert job.run(bundle, [str(x)], out, resume=True)["rows"] == 600


def test_a_full_disk_in_a_worker(
    bundle: Path, tmp_path: Path, same_plan: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, while a part is written: no half of it stays, and the job goes on as if nothing had been."""
    x, out = archive(tmp_path / "x.npz", r7=np.nan), tmp_path / "out"
    job.run(bundle, [str(x)], tmp_path / "whole")
    monkeypatch.setattr(hand, "WORKER", "dying:Full")
    (tmp_path / dying.Full.MARK).touch()
    with pytest.raises(InputError, match=r"part-000003\.jsonl cannot be written; the disk is full"):
        job.run(bundle, [str(x)], out)
    assert not (tmp_path / dying.Full.MARK).exists()
    assert set(errors(out)) <= {f"{x}#7"}
    assert not [p for p in out.iterdir() if dying.Full.MARK in p.name or p.name == "job.json"]
    assert job.run(bundle, [str(x)], out, resume=True)["rows"] == 599
    assert rows(out) == rows(tmp_path / "whole")
    assert errors(out) == errors(tmp_path / "whole")


def test_killed_again_and_again(bundle: Path, tmp_path: Path) -> None:
    """The command is killed at random moments, and resumed until it ends: as if nothing had been."""
    x = archive(tmp_path / "x.npz", 6000, r77=np.nan)
    script = tmp_path / "go.py"
    script.write_text(
        "import sys\nfrom hasten.offline import job\nfrom hasten.cli import main\n"
        f"job.best_way = lambda *_: {PLAN!r}\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    words = [sys.executable, str(script), "run", str(bundle), str(x), "-q", "-o"]
    assert subprocess.run([*words, str(tmp_path / "whole")]).returncode == 0
    rng, out, kills = random.Random(3), tmp_path / "out", 0
    while True:
        resumed = ["--resume"] if (out / "journal.sqlite").exists() else []
        process = subprocess.Popen([*words, str(out), *resumed])
        try:
            process.wait(rng.uniform(0.8, 2.5) if kills < 4 else 120)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
            time.sleep(0.1)
            continue
        assert process.returncode == 0
        break
    assert kills > 0
    assert rows(out) == rows(tmp_path / "whole")
    assert len(rows(out)) == 5999
    assert errors(out) == errors(tmp_path / "whole")
    assert not list(out.glob(".*"))


def test_a_sweep_finds_a_way(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hasten.offline.sweep.RATE_S", 0.02)
    result = job.run(bundle, [str(archive(tmp_path / "x.npz", 1000))], tmp_path / "out")
    assert result["plan"]["batch"] > 1
    assert result["plan"]["per_s"] > 0
    assert result["rows"] == 1000


def test_nothing_is_written_on_a_dry_run(bundle: Path, tmp_path: Path) -> None:
    x = archive(tmp_path / "x.npz", 9)
    told = job.run(bundle, [str(x)], tmp_path / "out", job.Options(limit=7), dry_run=True)
    assert told["samples"] == 7
    assert told["first"][0] == f"{x}#0"
    assert not (tmp_path / "out").exists()
