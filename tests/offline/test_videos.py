"""Videos in jobs: the windows of a watch, every frame where there is no window, and what is damaged told."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import bundles
import numpy as np
import pytest
from films import LENGTH, TICKS, film, pulses, steady, watcher
from onnx import helper
from test_job import rows

from hasten.answer import Answer
from hasten.bundle import Bundle
from hasten.data import Data
from hasten.errors import InputError, UsageError
from hasten.offline import job, shards
from hasten.offline.inputs import Place
from hasten.offline.views import fold
from hasten.pipeline import Pipeline
from hasten.prepare import Prepare
from hasten.stage import Stage
from hasten.stream.decode import frames
from hasten.stream.source import Source
from hasten.stream.watch import Watch

LIGHT = pulses((1.0, 2.0), (3.0, 4.0))
SIDE = 8


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Films of a few seconds: one as it should be, one that breaks in the middle, one cut short, and none at all."""
    folder = tmp_path_factory.mktemp("films")
    film(folder / "steady.mp4", steady(4), LIGHT)
    film(folder / "gap.mp4", [t for t in steady(4) if not 2.0 <= t / TICKS < 2.5], LIGHT)
    content = bytearray(film(folder / "broken.ts", steady(4), LIGHT, format_name="mpegts", gop=120).read_bytes())
    middle = len(content) // 3 // 188 * 188
    content[middle : middle + 188 * 6] = bytes(188 * 6)
    (folder / "broken.ts").write_bytes(bytes(content))
    (folder / "none.mp4").write_bytes(b"no video at all")
    return folder


@pytest.fixture(scope="module")
def watching(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that tells every score."""
    folder = tmp_path_factory.mktemp("watcher")
    watcher(folder, on=0.0, off=0.0).close()
    return folder / "bundle"


@pytest.fixture(scope="module")
def looking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle without a window: dark or bright, and more so to the left."""
    folder = tmp_path_factory.mktemp("looking")
    weights = np.linspace(2, 0, SIDE * SIDE)[:, None] * [[-1.0, 1.0]]
    nodes = [helper.make_node("Reshape", ["image", "flat"], ["r"]), helper.make_node("MatMul", ["r", "w"], ["logits"])]
    constants = {"w": weights.astype(np.float32), "flat": np.array([-1, SIDE * SIDE])}
    file = bundles.save(folder / "n.onnx", nodes, {"image": ["N", 1, SIDE, SIDE]}, {"logits": ["N", 2]}, constants)
    how = Prepare("image", colour="grey", size=(SIDE, SIDE), mean=(130.0,), std=(70.0,))
    raw = np.repeat(np.where(np.arange(24) % 2, 200, 60).astype(np.uint8), 300).reshape(24, 10, 10, 3)
    pipeline = Pipeline({"image": how}, answer=Answer("classes", labels=("dark", "bright")))
    bundles.make(
        folder / "bundle", stages=[Stage.of(file, bundles.engine())], pipeline=pipeline, cases=Data({"image": raw})
    ).close()  # fmt: skip
    return folder / "bundle"


def reasons(out: Path) -> list[tuple[str, str]]:
    return [(e["id"], e["reason"]) for e in map(json.loads, (out / "errors.jsonl").read_text().splitlines())]


def watched(bundle: Path, path: Path) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    with Bundle.load(bundle) as whole:
        Watch(whole, [Source.of(str(path))], lines.append, windows=True).run()
    return [line for line in lines if line["kind"] == "window"]


def test_the_windows_are_those_of_a_watch(watching: Path, place: Path, tmp_path: Path) -> None:
    """To the last bit but one: an activation is the platform's."""
    paths = [place / name for name in ("steady.mp4", "gap.mp4", "broken.ts")]
    result = job.run(watching, list(map(str, paths)), tmp_path / "out")
    wanted = {path: watched(watching, path) for path in paths}
    found = rows(tmp_path / "out")
    assert [r["id"] for r in found] == [f"{path}#{w['end']}" for path in paths for w in wanted[path]]
    told = np.array([w["scores"] for path in paths for w in wanted[path]])
    assert np.allclose([r["score"] for r in found], told, rtol=1e-12, atol=0)
    assert all(len(wanted[path]) > LENGTH for path in paths)
    assert (result["samples"], result["rows"], result["parts"]) == (3, len(found), 3)
    said = reasons(tmp_path / "out")
    assert {name for name, _ in said} == {str(paths[2])}
    assert all("are damaged, or depend on what is" in why for _, why in said)
    missing = sum(int(why.split()[0]) for _, why in said)
    assert missing > 30
    assert len(wanted[paths[2]]) <= len(wanted[paths[0]]) - 4


@pytest.mark.parametrize("tta", ["", "hflip"])
def test_without_a_window_every_frame_is_a_sample(looking: Path, place: Path, tmp_path: Path, tta: str) -> None:
    path = place / "steady.mp4"
    job.run(looking, [str(path)], tmp_path / "out", job.Options(tensors=True, tta=tta))
    found, every = rows(tmp_path / "out"), list(frames(str(path)))
    assert [r["id"] for r in found] == [f"{path}#{f.time}" for f in every]
    with Bundle.load(looking) as whole:
        how = whole.pipeline.inputs["image"]
        tensors = np.stack([np.array(f.how(how).preparer(*f.size).run(*f.planes)) for f in every])
        wanted = fold.answers(whole, {"image": tensors}, tta)["logits"]
    assert np.allclose([r["logits"] for r in found], wanted, atol=1e-4)
    assert [r["label"] for r in found] == [["bright" if LIGHT(f.time / 1e9) > 100 else "dark"] for f in every]


def test_videos_beside_images_each_in_a_part_of_its_own(looking: Path, place: Path, tmp_path: Path) -> None:
    from PIL import Image

    for name in ("a.png", "z.png"):
        Image.fromarray(np.full((9, 9, 3), 220, np.uint8)).save(tmp_path / name)
    (tmp_path / "c.ts").write_bytes((place / "broken.ts").read_bytes())
    (tmp_path / "b.mp4").write_bytes((place / "none.mp4").read_bytes())
    result = job.run(looking, [str(tmp_path)], tmp_path / "out", job.Options("parquet"))
    assert (result["samples"], result["parts"]) == (4, 4)
    said = reasons(tmp_path / "out")
    assert said[0][0] == str(tmp_path / "b.mp4")
    assert "cannot be opened" in said[0][1]
    assert {name for name, _ in said[1:]} == {str(tmp_path / "c.ts")}
    assert result["errors"] == len(said)
    assert result["rows"] > 150


def test_the_proof_sees_every_change_of_a_video(looking: Path, place: Path, tmp_path: Path) -> None:
    """Of parts whose digest nobody looks at: rows that are lost, repeated, of another video, or out of order."""
    path, out = str(place / "steady.mp4"), tmp_path / "out"
    job.run(looking, [path], out)
    part = out / "part-000000.jsonl"
    lines = part.read_text().splitlines(keepends=True)
    other = lines[0].replace("steady", "unsteady")
    with job.Journal(out) as journal:
        for changed in (lines[1:], [lines[0], *lines[:-1]], [lines[1], lines[0], *lines[2:]], [other, *lines[1:]]):
            part.write_text("".join(changed))
            with pytest.raises(InputError, match="does not hold the answers"):
                shards.proven(journal, out, {0: [Place(path, path)]}, "jsonl")
        part.write_text("".join(lines))
        assert shards.proven(journal, out, {0: [Place(path, path)]}, "jsonl") == len(lines)


def test_a_video_costs_one_part_and_others_share_theirs() -> None:
    places = [Place(name, name) for name in ("a.png", "b.png", "c.png", "v.mp4", "w.mp4", "d.png")]
    assert [[p.id for p in part] for part in shards.cut(places, 2)] == [
        ["a.png", "b.png"], ["c.png"], ["v.mp4"], ["w.mp4"], ["d.png"],
    ]  # fmt: skip


def test_windows_of_videos_have_no_views(watching: Path, place: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="looked at once"):
        job.run(watching, [str(place / "steady.mp4")], tmp_path / "out", job.Options(tta="hflip"))


def test_a_kill_in_the_middle_of_videos(looking: Path, place: Path, tmp_path: Path) -> None:
    """By the command; what is resumed is what an undisturbed job writes."""
    words = [str(place / name) for name in ("steady.mp4", "gap.mp4", "broken.ts")]
    job.run(looking, words, tmp_path / "whole")
    out = tmp_path / "out"
    main = "import sys; from hasten.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", main, "run", str(looking), *words, "-q", "-o", str(out)]
    process = subprocess.Popen(command)
    while process.poll() is None and not list(out.glob("part-*")):
        pass
    process.kill()
    process.wait()
    if not (out / "job.json").exists():
        assert subprocess.run([*command, "--resume"]).returncode == 0
    assert rows(out) == rows(tmp_path / "whole")
    assert reasons(out) == reasons(tmp_path / "whole")
