"""The shapes: clips are made of their seed, events are scored as they should be, and the network finds them live."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from hasten import Answer, Bundle, Task
from hasten.engines.openvino import OpenVino
from hasten.export import export
from hasten.graph.split import stages
from hasten.model import TorchModel
from hasten.stream.source import Source
from hasten.stream.watch import Watch

SHAPES = Path(__file__).parents[2] / "examples" / "shapes"
SEEDS = range(500, 508)  # of the test clips, all kinds twice
ENOUGH = 0.9  # event F1; what the network was trained to is above


@pytest.fixture(scope="module")
def shapes() -> Iterator[dict[str, ModuleType]]:
    """The modules beside the task file."""
    before = set(sys.modules)
    sys.path.insert(0, str(SHAPES))
    names = ("clips", "data", "net", "score")
    hidden = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    try:
        yield {name: importlib.import_module(name) for name in names}
    finally:
        sys.path.remove(str(SHAPES))
        for name in set(sys.modules) - before:
            if name in names:
                del sys.modules[name]
        sys.modules.update(hidden)


def test_a_clip_is_made_of_its_seed(shapes: dict[str, ModuleType], tmp_path: Path) -> None:
    clips = shapes["clips"]
    for name in ("a.mp4", "b.mp4"):
        clips.write(clips.clip(501), tmp_path / name)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert {clips.clip(seed).kind for seed in SEEDS} == set(clips.KINDS)


def test_crossings_are_where_the_ball_is_on_the_other_side(shapes: dict[str, ModuleType]) -> None:
    clips = shapes["clips"]
    for seed in range(20):
        made = clips.clip(seed)
        for crossing in made.crossings:  # told to the millisecond, by the first one on the other side
            before, after = np.searchsorted(made.moments, [crossing - 0.001, crossing])
            assert (made.ball[before - 1, 0] > made.line) != (made.ball[after, 0] > made.line)
        assert all(clips.QUIET_S <= c <= clips.SECONDS - 0.4 for c in made.crossings)
    assert any(len(clips.clip(seed).crossings) == 0 for seed in range(40))


def test_event_f1(shapes: dict[str, ModuleType]) -> None:
    """Two clips: one event is found in time, one is missed, one is false."""
    metric = shapes["score"].event_f1(Answer("events", activation="sigmoid", on=0.6, off=0.4))
    ends = np.arange(1, 5, 0.2)
    target = np.stack([np.repeat([0, 1], 20), np.tile(ends, 2), np.full(40, -1.0), np.zeros(40)], axis=1)
    logits = np.full((40, 1), -3.0)
    target[5, 2], logits[6:8] = ends[5] - 0.1, 3.0
    target[15, 2] = ends[15] - 0.1
    logits[30:32] = 3.0
    rows = metric.rows({"logit": logits}, target)
    assert metric.total(rows) == pytest.approx(2 / 4)
    assert metric.total(rows[:15]) == 1
    assert metric.total(np.concatenate([rows[:15], rows[:15]])) == 1
    assert metric.total(rows[20:]) == 0


@pytest.fixture(scope="module")
def bundle(shapes: dict[str, ModuleType], tmp_path_factory: pytest.TempPathFactory) -> tuple[Task, Bundle]:
    place = tmp_path_factory.mktemp("shapes")
    task = Task.load(SHAPES / "task.py")
    data = task.sample()
    assert isinstance(task.original, TorchModel)
    model = export(task.original, data).model.save(place / "model.onnx")
    parts = stages(model, task.pipeline, data, OpenVino(threads=1, hint="f32"), place)
    assert [s.when for s in parts] == ["frame", "window"]
    written = {"recipe": "as it is", "measurements": {}, "conditions": {}, "cases": task.raw("calibrate")}
    return task, Bundle.write(place / "bundle", stages=parts, pipeline=task.pipeline, **written)


def test_events_are_found_live(bundle: tuple[Task, Bundle], shapes: dict[str, ModuleType]) -> None:
    """Through the stream, from files: F1 within half a second, told soon after, each sample encoded at most once."""
    data, score = shapes["data"], shapes["score"]
    hits = found = true = 0
    late: list[float] = []
    for path in data.paths(SEEDS):
        lines: list[dict] = []
        assert Watch(bundle[1], [Source.of(str(path))], lines.append).run()
        begins = [x["begin"] / 1e9 for x in lines if x["kind"] == "event"]
        pairs = score.matched(begins, data.crossings(path))
        hits, found, true = hits + len(pairs), found + len(begins), true + len(data.crossings(path))
        late += [begin - crossing for begin, crossing in pairs]
        (end,) = (x for x in lines if x["kind"] == "end")
        assert end["encoded"] <= end["samples"]
    assert true >= 8
    assert score.f1(hits, found, true) >= ENOUGH
    assert np.median(late) < 0.2


def test_the_metric_scores_the_same_network_on_windows(bundle: tuple[Task, Bundle]) -> None:
    """Windows every fifth of a second, which overlap in memory; those of two clips are left out."""
    task, made = bundle
    part = task.split("calibrate")
    assert part.target is not None
    rows = task.measure.rows(made.infer(part.inputs), part.target)
    assert (part.target[:, 0] == -1).any()
    assert task.measure.total(rows) >= ENOUGH
