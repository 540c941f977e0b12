"""A job with views: rows as the views together answer, whatever batch the engine has; kills, deaths and Ray as ever."""

from pathlib import Path
from typing import Any

import bundles
import numpy as np
import pytest
from onnx import helper
from test_job import errors, rows

from hasten.answer import Answer
from hasten.bundle import Bundle
from hasten.cli import main
from hasten.data import Data
from hasten.errors import InputError, UsageError
from hasten.offline import hand, job
from hasten.offline.sweep import sweep
from hasten.offline.views import fold
from hasten.pipeline import Pipeline
from hasten.stage import Stage

SIDE = 4
WORDS = "hflip,shift=1"
DEADLY = 777.0  # of dying.py


def images(path: Path, count: int = 150, **changed: float) -> Path:
    """`changed`: row -> a value put into it."""
    x = np.random.default_rng(5).normal(size=(count, 1, SIDE, SIDE)).astype(np.float32)
    for row, value in changed.items():
        x[int(row.removeprefix("r")), 0, 0, 0] = value
    np.savez(path, image=x)
    return path


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scores of three classes, linear in the image."""
    folder = tmp_path_factory.mktemp("looker")
    weights = np.random.default_rng(0).normal(size=(SIDE * SIDE, 3)).astype(np.float32)
    nodes = [helper.make_node("Reshape", ["image", "flat"], ["r"]), helper.make_node("MatMul", ["r", "w"], ["logits"])]
    constants = {"w": weights, "flat": np.array([-1, SIDE * SIDE])}
    file = bundles.save(folder / "n.onnx", nodes, {"image": ["N", 1, SIDE, SIDE]}, {"logits": ["N", 3]}, constants)
    cases = Data({"image": np.random.default_rng(1).normal(size=(40, 1, SIDE, SIDE)).astype(np.float32)})
    pipeline = Pipeline(answer=Answer("classes", activation="softmax"))
    bundles.make(
        folder / "bundle", stages=[Stage.of(file, bundles.engine())], pipeline=pipeline, cases=cases
    ).close()  # fmt: skip
    return folder / "bundle"


@pytest.fixture(autouse=True)
def plan(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    given = {"workers": 2, "threads": 1, "batch": 16, "per_s": 1.0}
    monkeypatch.setattr(job, "best_way", lambda *_: dict(given))
    monkeypatch.setattr(job, "FEW", 10)
    return given


@pytest.mark.parametrize("batch", [1, 4, 64])
def test_rows_are_what_the_views_say_together(bundle: Path, tmp_path: Path, plan: dict[str, Any], batch: int) -> None:
    plan["batch"] = batch
    x = images(tmp_path / "x.npz")
    result = job.run(bundle, [str(x)], tmp_path / "out", job.Options(tensors=True, tta=WORDS))
    assert result["rows"] == 150
    assert result["views"] == ["identity", "hflip", "up=1", "down=1", "left=1", "right=1"]
    with Bundle.load(bundle) as whole:
        wanted = fold.answers(whole, {"image": np.load(x)["image"]}, WORDS)["logits"]
        plain = whole.infer({"image": np.load(x)["image"]})["logits"]
    found = rows(tmp_path / "out")
    assert np.allclose([r["logits"] for r in found], wanted, atol=1e-5)
    assert [r["answer"] for r in found] == wanted.argmax(1)[:, None].tolist()
    assert (wanted.argmax(1) != plain.argmax(1)).any()


def test_a_job_with_other_views_is_another_job(bundle: Path, tmp_path: Path) -> None:
    x, out = images(tmp_path / "x.npz"), tmp_path / "out"
    job.run(bundle, [str(x)], out, job.Options(tta=WORDS))
    before = rows(out)
    for other in (job.Options(), job.Options(tta="hflip"), job.Options(tta=WORDS, merge="max")):
        with pytest.raises(InputError, match="another options"):
            job.run(bundle, [str(x)], out, other, resume=True)
    (out / "part-000001.jsonl").unlink()
    job.run(bundle, [str(x)], out, job.Options(tta=WORDS), resume=True)
    assert rows(out) == before


def test_the_sample_of_which_an_engine_dies_is_found_among_its_views(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hand, "WORKER", "dying:Dying")
    x = images(tmp_path / "x.npz", 16, r5=DEADLY)
    assert job.run(bundle, [str(x)], tmp_path / "out", job.Options(tta=WORDS))["rows"] == 15
    assert set(errors(tmp_path / "out")) == {f"{x}#5"}


def test_a_bad_sample_costs_its_own_answer(bundle: Path, tmp_path: Path) -> None:
    x = images(tmp_path / "x.npz", r7=np.nan)
    assert job.run(bundle, [str(x)], tmp_path / "out", job.Options(tta=WORDS))["rows"] == 149
    assert set(errors(tmp_path / "out")) == {f"{x}#7"}


def test_samples_a_second_are_of_samples(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six views take longer than one."""
    monkeypatch.setattr("hasten.offline.sweep.RATE_S", 0.1)
    monkeypatch.setattr("hasten.offline.sweep.BATCHES", (32,))
    x = images(tmp_path / "x.npz")
    opened = {"bundle": str(bundle), "form": "jsonl", "prepared": False, "tensors": False}
    places = [(str(i), str(x), i) for i in range(64)]
    plain, looked = (sweep(opened | {"tta": tta}, places)["per_s"] for tta in ("", WORDS))
    assert looked < plain / 2


@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_ray_gives_the_same_rows(bundle: Path, tmp_path: Path) -> None:
    x = images(tmp_path / "x.npz", 300)
    for on in ("local", "ray"):
        job.run(bundle, [str(x)], tmp_path / on, job.Options(tta=WORDS, merge="geometric"), on=on)
    assert rows(tmp_path / "ray") == rows(tmp_path / "local")


def test_views_that_the_bundle_cannot_take(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="leaves nothing"):
        job.run(bundle, [str(images(tmp_path / "x.npz"))], tmp_path / "out", job.Options(tta="up=4"))
    assert not (tmp_path / "out").exists()


def test_the_command(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = str(images(tmp_path / "x.npz", 9))
    words = ["run", str(bundle), x, "-o", str(tmp_path / "out"), "-q"]
    assert main([*words, "--merge", "max"]) == 2
    assert "--merge says how answers to several views become one" in capsys.readouterr().err
    assert main([*words, "--tta", "hflop"]) == 2
    assert main([*words, "--tta", "hflip, rot90", "--merge", "vote"]) == 0
    assert len(rows(tmp_path / "out")) == 9
    assert '"tta": "hflip,rot90"' in (tmp_path / "out" / "job.json").read_text()


def test_boxes_in_a_job_are_fused(tmp_path: Path) -> None:
    golden = Path(__file__).parents[2] / "spec" / "golden" / "detector"
    with Bundle.load(golden) as whole:
        raw = [whole.golden.raw(golden, i)["image"] for i in range(len(whole.golden.cases))]
        raw = np.concatenate([r for r in raw if r.shape == raw[0].shape])
        outputs = fold.answers(whole, whole.pipeline.prepared({"image": raw}), "hflip,up=1")
        decisions = whole.pipeline.decide(outputs)
    np.savez(tmp_path / "x.npz", image=raw)
    job.run(golden, [str(tmp_path / "x.npz")], tmp_path / "out", job.Options(tta="hflip,up=1"))
    found = rows(tmp_path / "out")
    assert [r["answer"] for r in found] == decisions
    assert any(decisions)
    for i, row in enumerate(found):
        assert np.allclose(row["box"], [outputs["boxes"][i, box] for box, _ in decisions[i]])


def test_clips_are_shifted_in_time(tmp_path: Path) -> None:
    """Of a bundle with a stage for each frame."""
    golden = Path(__file__).parents[2] / "spec" / "golden" / "video"
    with Bundle.load(golden) as whole:
        raw = whole.golden.raw(golden, 0)["frame"].repeat(3, axis=0)
        tensors = whole.pipeline.prepared({"frame": raw})
        outputs = fold.answers(whole, tensors, "shift=1,hflip")["scores"]
        assert not np.allclose(outputs, whole.infer(tensors)["scores"])
    np.savez(tmp_path / "x.npz", frame=raw)
    result = job.run(
        golden, [str(tmp_path / "x.npz")], tmp_path / "out", job.Options(tensors=True, tta="shift=1,hflip")
    )
    assert result["views"] == ["identity", "later=1", "earlier=1", "hflip"]
    assert np.allclose([r["scores"] for r in rows(tmp_path / "out")], outputs, atol=1e-6)
