"""Ensembles: weights, forms and what they answer; that the bundle runs as any other; what is refused."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import bundles
import numpy as np
import pytest
from jsonschema import Draft202012Validator
from onnx import helper
from scipy import special

from hasten import find, manifest
from hasten.answer import Answer
from hasten.bundle import Bundle
from hasten.cli import main
from hasten.data import Data
from hasten.diagnose.parity import parity
from hasten.engine import Engine
from hasten.errors import InputError, NotApplicable
from hasten.flow import sure
from hasten.measure.latency import Race
from hasten.metric import METRICS
from hasten.offline.ensemble import choose, forms
from hasten.offline.ensemble.choose import Choice, Raced, ensemble
from hasten.offline.ensemble.mean import averaged
from hasten.offline.ensemble.members import opened
from hasten.offline.ensemble.merged import Mean
from hasten.pipeline import Pipeline, Window
from hasten.prepare import Prepare
from hasten.stage import Stage
from hasten.task import Task

softmax = partial(special.softmax, axis=-1)

TRUE = (0.5, 0.5)  # labels are those of the mean, with these weights, of what seeds 0 and 1 say
NOISE = 2  # the seed of a network that knows nothing of them


def labelled(count: int, seed: int) -> Data:
    """Two thirds of the labels are drawn from the mean, the others are its best."""
    x = bundles.samples(count, seed)
    mean = sum(w * softmax(bundles.answers(x.inputs["x"], s)) for s, w in enumerate(TRUE))
    drawn = (mean.cumsum(1) < np.random.default_rng(seed).random((count, 1))).sum(1)
    return x.with_target(np.where(np.arange(count) % 3, drawn, mean.argmax(1)).astype(np.int64))


def member(folder: Path, seed: int, engine: Engine | None = None, **changed: Any) -> Path:
    """A bundle of `bundles.whole` in folder/`seed`."""
    target = folder / str(seed)
    source = bundles.whole(folder / f"{seed}.onnx", seed=seed)
    changed = {"stages": [Stage.of(source, engine or bundles.engine())]} | changed
    bundles.make(target, **changed).close()
    return target


def task(**changed: Any) -> Task:
    given = {"metric": "top1", "validate": labelled(2000, 3), "test": labelled(2000, 4)}
    return Task("mixed", Path("no.onnx"), **given | changed)


@pytest.fixture
def no_race(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every form takes a millisecond, the later in the list a little less."""

    def raced(made: Sequence[Any], desk: Any, launches: int) -> Raced:
        calls = [[1 - 0.01 * i] * 3 for i in range(len(made))]
        return Raced(made, Race([[calls] * 6]), [{}] * len(made))

    monkeypatch.setattr(choose.Raced, "of", raced)


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], dict[str, Any], Path]:
    """Two members that know a part each and one that knows nothing, on OpenVINO, as a cascade: folders, result, out."""
    folder = tmp_path_factory.mktemp("raced")
    engine = find.engine("openvino")(threads=1)
    made = [member(folder, seed, engine) for seed in (0, 1, NOISE)]
    result = ensemble(made, task(), folder / "out", Choice(0.02, cascade=True), launches=1)
    return made, result, folder / "out"


def test_weights_are_found_and_what_knows_nothing_is_left_out(raced: Any) -> None:
    made, result, out = raced
    weights = [one["weight"] for one in result["members"]]
    assert weights[:2] == pytest.approx(TRUE, abs=0.15)
    assert weights[2] == 0
    assert sum(weights) == pytest.approx(1)
    with Bundle.load(out) as bundle:
        told = bundle.measurements["members"]
        assert [one["seal"] for one in told] == [manifest.read(m)["seal"] for m in made]
        assert str(made[NOISE]) not in bundle.recipe
        assert f"{weights[0]:.3g} x {made[0]}" in bundle.recipe


def test_every_row_is_told_and_the_mean_knows_more(raced: Any) -> None:
    made, result, _ = raced
    manifest.validate(result, "ensemble", Path("result.json"))
    rows = {row["name"]: row for row in result["rows"]}
    assert list(rows) == [*map(str, made), "stages", "merged", "cascade"]
    assert result["best"] == str(made[1])
    assert rows["stages"]["gain_ci95"][0] > 0
    assert rows["stages"]["split"] == "test"
    assert rows["merged"]["accuracy"] == rows["stages"]["accuracy"]
    assert rows[str(made[NOISE])]["gain_ci95"][1] < 0
    assert rows["cascade"]["accuracy"] > rows["stages"]["accuracy"] - 0.04
    assert 0.05 < rows["cascade"]["early_share"] < 1
    assert rows["stages"]["macs"] > rows["cascade"]["macs"] > rows[str(made[0])]["macs"]
    assert result["over_stages"]["value"] > 1, "one call instead of three"


def test_the_cascade_answers_early_where_it_is_sure_and_as_the_ensemble_elsewhere(raced: Any) -> None:
    _, result, out = raced
    feed = dict(labelled(300, 9).inputs)
    with Bundle.load(out) as bundle:
        first, rest = bundle.stages
        assert (first.when, rest.when) == ("always", "unless")
        came = bundle.run(feed)["logits"]
    assert rest.unless
    alone = [softmax(bundles.answers(feed["x"], seed)) for seed in (0, 1)]
    weights = [one["weight"] for one in result["members"]]
    quick = alone[0] if rest.unless.threshold and np.allclose(_best(came, alone[0]), 1) else alone[1]
    whole = weights[0] * alone[0] + weights[1] * alone[1]
    early = sure(rest.unless, np.log(quick))
    assert 0 < early.mean() < 1
    assert early.mean() == pytest.approx(
        next(r for r in result["rows"] if r["name"] == "cascade")["early_share"], abs=0.1
    )
    np.testing.assert_allclose(softmax(came), np.where(early[:, None], quick, whole), atol=1e-4)


def _best(came: np.ndarray, alone: np.ndarray) -> np.ndarray:
    """1 where the surest answer that came is the member's own."""
    place = softmax(came).max(1).argsort()[-20:]
    return np.isclose(softmax(came)[place], alone[place], atol=1e-3).all(1)


def test_cpp_runs_it_to_the_same_answers(raced: Any, tmp_path: Path) -> None:
    made, _, out = raced
    for folder in (out, averaged(made, tmp_path / "mean")):
        with Bundle.load(folder) as bundle:
            assert parity(bundle) == ""


@pytest.mark.parametrize("layout", ["merged", "stages"])
def test_both_layouts_answer_as_the_mean_of_probabilities(layout: Any, tmp_path: Path, no_race: None) -> None:
    made = [member(tmp_path, seed) for seed in (0, 1)]
    result = ensemble(made, task(), tmp_path / "out", Choice(layout=layout))
    assert result["shipped"] == layout
    assert result["activation"] == "softmax"
    feed = dict(labelled(50, 9).inputs)
    with Bundle.load(tmp_path / "out") as bundle:
        assert len(bundle.stages) == {"merged": 1, "stages": 3}[layout]
        came = bundle.run(feed)["logits"]
    weights = [one["weight"] for one in result["members"]]
    wanted = sum(w * softmax(bundles.answers(feed["x"], seed)) for seed, w in enumerate(weights))
    np.testing.assert_allclose(np.exp(came), wanted, atol=1e-5)


def test_the_answer_is_no_where_one_knows_it_all(tmp_path: Path, no_race: None) -> None:
    def known(count: int, seed: int) -> Data:
        x = bundles.samples(count, seed)
        return x.with_target(bundles.answers(x.inputs["x"], 1).argmax(1))

    made = [member(tmp_path, seed) for seed in (1, NOISE)]
    result = ensemble(made, task(validate=known(400, 3), test=known(400, 4)), tmp_path / "out")
    manifest.validate(result, "ensemble", Path("result.json"))
    assert [one["weight"] for one in result["members"]] == [1, 0]
    assert result["bundle"] is None
    assert result["verdict"].endswith("alone is as good on validate")
    assert not (tmp_path / "out").exists()


def test_members_of_several_stages_keep_them(tmp_path: Path, no_race: None) -> None:
    """Encoders by frame, heads by window: nothing of two clips or two members is mixed up."""
    window, frames = Window(0.4, 10, 0.1), 4
    pipeline = Pipeline(window=window, answer=Answer("classes"))
    x = np.random.default_rng(0).normal(size=(60, frames, bundles.FEATURES)).astype(np.float32)
    made = []
    for name, sign in (("a", 1.0), ("b", -0.5)):
        encoder = Stage.of(bundles.encoder(tmp_path / f"e{name}.onnx"), bundles.engine(), "frame")
        head = Stage.of(_pool(tmp_path / f"h{name}.onnx", frames, sign), bundles.engine(), "window")
        stages = [replace(encoder, when="frame"), replace(head, when="window")]
        bundles.make(tmp_path / name, stages=stages, pipeline=pipeline, cases=Data({"x": x})).close()
        made.append(tmp_path / name)
    with Bundle.load(averaged(made, tmp_path / "mean")) as bundle, opened(made) as both:
        assert [s.when for s in bundle.stages] == ["frame", "window", "frame", "window", "always"]
        came = bundle.run({"x": x})["logits"]
        alone = [softmax(m.bundle.run({"x": x})["logits"]) for m in both]
        np.testing.assert_allclose(np.exp(came), (alone[0] + alone[1]) / 2, atol=1e-5)
        assert not np.allclose(alone[0], alone[1], atol=0.1)
        mean = Mean(bundle.signature.outputs, {m.prefix: 0.5 for m in both}, "softmax")
        with pytest.raises(NotApplicable, match="has 2 stages"):
            forms.merged(both, mean, bundles.engine(), tmp_path / "merged")


def _pool(path: Path, frames: int, sign: float) -> Path:
    """`bundles.pool` whose head is multiplied."""
    import onnx
    from onnx import numpy_helper

    proto = onnx.load(bundles.pool(path, frames))
    (head,) = proto.graph.initializer
    head.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(head) * np.float32(sign), head.name))
    path.write_bytes(proto.SerializeToString())
    return path


def test_engines_that_are_not_the_same_are_tried_each(tmp_path: Path, no_race: None) -> None:
    made = [member(tmp_path, 0), member(tmp_path, 1, find.engine("openvino")(threads=1))]
    result = ensemble(made, task(), tmp_path / "out")
    rows = {row["name"]: row["engine"] for row in result["rows"]}
    assert rows["stages"] == "onnxruntime(threads=1, turns=True), openvino(threads=1)"
    assert (rows["merged"], rows["merged-1"]) == ("onnxruntime(threads=1)", "openvino(threads=1)")
    assert result["shipped"] == "merged-1", "the quickest, in this race"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"pipeline": Pipeline(answer=Answer("classes", labels=("a", "b", "z")))}, "differ in the answer: .* labels="),
        ({"pipeline": Pipeline({"x": Prepare()}, answer=Answer("classes", labels=("a", "b", "c")))}, "the input 'x'"),
        ({"pipeline": Pipeline()}, "differ in the answer"),
    ],
)
def test_members_that_do_not_go_together(changed: Any, said: str, tmp_path: Path) -> None:
    made = [member(tmp_path, 0), member(tmp_path, 1, **changed)]
    with pytest.raises(InputError, match=said):
        averaged(made, tmp_path / "out")


def test_what_else_is_refused(tmp_path: Path) -> None:
    made = [member(tmp_path, seed) for seed in (0, 1)]
    with pytest.raises(InputError, match="an ensemble of 1"):
        averaged(made[:1], tmp_path / "out")
    with pytest.raises(InputError, match="are the same bundle"):
        averaged([*made, made[0]], tmp_path / "out")
    with pytest.raises(InputError, match="original model's; give validate labels"):
        ensemble(made, task(metric="agreement"), tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    with pytest.raises(InputError, match="is not a bundle"):
        ensemble(made, task(), tmp_path / "full")
    assert not (tmp_path / "out").exists()


def test_values_are_averaged_by_least_squares_and_have_no_cascade(tmp_path: Path, no_race: None) -> None:
    def valued(count: int, seed: int) -> Data:
        x = bundles.samples(count, seed)
        return x.with_target(0.3 * bundles.answers(x.inputs["x"], 0) + 0.7 * bundles.answers(x.inputs["x"], 1))

    made = [member(tmp_path, seed, pipeline=Pipeline()) for seed in (0, 1)]
    plain = task(metric="mse", validate=valued(200, 3), test=valued(200, 4))
    result = ensemble(made, plain, tmp_path / "out")
    manifest.validate(result, "ensemble", Path("result.json"))
    assert [one["weight"] for one in result["members"]] == pytest.approx([0.3, 0.7], abs=1e-3)
    assert result["activation"] == "none"
    assert next(row["accuracy"] for row in result["rows"] if row["name"] == "merged") < 1e-6
    with pytest.raises(NotApplicable, match="a cascade is for a choice between classes"):
        ensemble(made, plain, tmp_path / "out", Choice(cascade=True))


def halves(path: Path, seed: int) -> Path:
    """image [N, 1, 8, 8] -> how bright its upper and its lower half are, seen through weights that are off."""
    weights = np.repeat(np.eye(2), 32, axis=0) + np.random.default_rng(seed).normal(0, 1.0, (64, 2))
    nodes = [helper.make_node("Flatten", ["image"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["logits"])]
    inputs, outputs = {"image": ["N", 1, 8, 8]}, {"logits": ["N", 2]}
    return bundles.save(path, nodes, inputs, outputs, {"w": weights.astype(np.float32)})


def test_a_second_look_is_a_row_of_its_own(tmp_path: Path, no_race: None) -> None:
    """A half stays where it is when its image is mirrored, and not when it is turned."""

    def bright(count: int, seed: int) -> Data:
        rng = np.random.default_rng(seed)
        image, target = rng.normal(0, 0.5, (count, 1, 8, 8)).astype(np.float32), rng.integers(0, 2, count)
        for i, half in enumerate(target):
            image[i, 0, 4 * half : 4 * half + 4] += 0.25
        return Data({"image": image}, target)

    made = []
    for seed in (0, 1):
        stages = [Stage.of(halves(tmp_path / f"{seed}.onnx", seed), bundles.engine())]
        bundles.make(tmp_path / str(seed), stages=stages, pipeline=Pipeline(), cases=bright(40, 7)).close()
        made.append(tmp_path / str(seed))
    plain = task(validate=bright(1500, 3), test=bright(1500, 4))
    result = ensemble(made, plain, tmp_path / "out", Choice(tta="hflip,vflip"))
    manifest.validate(result, "ensemble", Path("result.json"))
    shipped = next(row for row in result["rows"] if row["name"] == result["shipped"])
    looked = result["rows"][-1]
    assert looked["name"] == f"{shipped['name']} + hflip"
    assert looked["accuracy"] > shipped["accuracy"] + 0.01
    assert looked["latency_p50_ms"] > shipped["latency_p50_ms"]
    assert looked["macs"] == 2 * shipped["macs"]
    with Bundle.load(tmp_path / "out") as bundle:
        image = plain.raw("test").inputs["image"]
        both = [softmax(bundle.run({"image": x})["logits"]) for x in (image, np.ascontiguousarray(image[..., ::-1]))]
    right = (np.mean(both, 0).argmax(1) == plain.raw("test").target).mean()
    assert looked["accuracy"] == pytest.approx(right)
    again = ensemble(made, plain, tmp_path / "out", Choice(tta="vflip"))
    assert again["reasons"][f"{shipped['name']} + vflip"] == "no view raises the metric on validate"


def test_a_cascade_that_does_not_pay_is_none(tmp_path: Path) -> None:
    """Nobody may leave whose answers are wrong."""
    with opened([member(tmp_path, seed) for seed in (0, 1)]) as members:
        mean = Mean(members[0].bundle.signature.outputs, {m.prefix: 0.5 for m in members}, "softmax")
        firsts, wrong, right = [np.eye(3)[np.arange(60) % 3] * 5] * 2, [np.zeros(60)] * 2, np.ones(60)
        with pytest.raises(NotApplicable, match="is sure of 0% of validate, too few to pay"):
            forms.cheapest(members, mean, firsts, wrong, right, METRICS["top1"], 0.01)
        found = forms.cheapest(members, mean, firsts, [wrong[0], right], right, METRICS["top1"], 0.01)
        assert (found.member, found.leave, found.cost) == (members[1], 1, 0.5)


def test_run_averages_with_others_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = [str(member(tmp_path, seed)) for seed in (0, 1, NOISE)]
    x = bundles.samples(30, 7).inputs["x"]
    np.savez(tmp_path / "x.npz", x=x)
    out = str(tmp_path / "out")
    words = ["run", made[0], str(tmp_path / "x.npz"), "-o", out, "--outputs", "-q", "--with"]
    assert main([*words, made[1], "--dry-run"]) == 0
    assert not list(tmp_path.glob("out*"))
    assert main([*words, made[1]]) == 0
    rows = [json.loads(line) for line in (tmp_path / "out" / "part-000000.jsonl").read_text().splitlines()]
    wanted = (softmax(bundles.answers(x, 0)) + softmax(bundles.answers(x, 1))) / 2
    np.testing.assert_allclose(np.exp([row["logits"] for row in rows]), wanted, atol=1e-5)
    assert [row["answer"] for row in rows] == [[int(best)] for best in wanted.argmax(1)]
    assert {row["bundle"] for row in rows} == {manifest.read(tmp_path / "out.bundle")["seal"]}
    assert main([*words, made[1], "--resume"]) == 0
    capsys.readouterr()
    assert main([*words, made[2], "--resume"]) == 3
    assert "is made of other bundles" in capsys.readouterr().err
    plain = [*words[:-1], "--resume"]
    assert main(plain) == 3
    assert "had another bundle" in capsys.readouterr().err


def test_the_schema_is_closed_and_whole() -> None:
    schema = manifest.schema("ensemble")
    Draft202012Validator.check_schema(schema)
    waiting: list[Any] = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict) and "properties" in part:
            assert part["additionalProperties"] is False
            assert set(part["required"]) == set(part["properties"])
        waiting += part.values() if isinstance(part, dict) else part if isinstance(part, list) else []


def test_a_folder_may_be_called_like_a_form(tmp_path: Path, no_race: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, name in ((0, "stages"), (1, "merged")):
        member(tmp_path, seed).rename(name)
    result = ensemble(["stages", "merged"], task(), "out")
    assert [row["name"] for row in result["rows"]][:4] == ["./stages", "./merged", "stages", "merged"]
    assert len({row["accuracy"] for row in result["rows"][:3]}) == 3


def test_the_verb(tmp_path: Path, no_race: None, capsys: pytest.CaptureFixture[str]) -> None:
    made = [str(member(tmp_path, seed)) for seed in (0, 1)]
    for part, data in (("validate", labelled(2000, 3)), ("test", labelled(2000, 4))):
        np.savez(tmp_path / f"{part}.npz", **data.inputs, target=data.target)
    (tmp_path / "task.py").write_text(
        "from pathlib import Path\nfrom hasten import Data, Task\nhere = Path(__file__).parent\n"
        "task = Task('t', here / '0.onnx', 'top1', validate=lambda: Data.load(here / 'validate.npz'),\n"
        "            test=lambda: Data.load(here / 'test.npz'))\n"
    )
    words = ["ensemble", *made, "--task", str(tmp_path / "task.py"), "-o", str(tmp_path / "out")]
    assert main([*words, "--json", str(tmp_path / "r.json")]) == 0
    told = capsys.readouterr().out
    assert "merged: top1 0." in told
    assert "stages" in told
    manifest.validate(json.loads((tmp_path / "r.json").read_text()), "ensemble", tmp_path / "r.json")
    assert main(["verify", str(tmp_path / "out"), "-q"]) == 0
