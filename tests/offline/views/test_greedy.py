"""Which views are worth it: on a network that looks at half of what it is shown, and by the command."""

import json
from pathlib import Path
from typing import Any

import bundles
import numpy as np
import pytest
from onnx import helper

from hasten.answer import Answer
from hasten.cli import main
from hasten.data import Data
from hasten.drop import paired_drop
from hasten.engine import Compiled, Layer, Session
from hasten.errors import UsageError
from hasten.metric import metric
from hasten.model import Arrays, Signature, Tensor
from hasten.offline.views import greedy as chooser
from hasten.offline.views.greedy import Looker, greedy
from hasten.pipeline import Pipeline

SIDE = 6
SIGNATURE = Signature(
    (Tensor("image", "float32", ("N", 1, SIDE, SIDE)),), (Tensor("logits", "float32", ("N", 2)),)
)  # fmt: skip


class LeftHalf(Compiled):
    """Light or dark, by the left half alone."""

    def run(self, feed: Arrays) -> dict[str, np.ndarray]:
        light = feed["image"][:, 0, :, : SIDE // 2].sum(axis=(1, 2))
        return {"logits": np.stack([-light, light], axis=1).astype(np.float32)}

    def layers(self) -> list[Layer]:
        return []


def light(n: int, seed: int) -> Data:
    """Whole numbers around +1 or -1, so noisy that half an image does not always say which."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 2, n)
    image = np.rint(rng.normal(0, 12, (n, 1, SIDE, SIDE)) + (2 * target - 1)[:, None, None, None] * 2)
    return Data({"image": image.astype(np.float32)}, target)


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chooser, "ROUNDS", 6)


def looker(**changed: Any) -> Looker:
    given = {"metric": metric("top1"), "validate": light(600, 1), "test": light(900, 2)}
    return Looker(Session(LeftHalf(), SIGNATURE), Pipeline(answer=Answer("classes")), **given | changed)


def test_the_view_that_shows_the_other_half_is_chosen() -> None:
    one = looker()
    found = greedy(one, "vflip,hflip,rot180")
    views = {row["view"]: row for row in found["views"]}
    assert views["vflip"]["gain"] == 0  # the same half again
    assert views["hflip"]["gain_ci95"][0] > 0
    assert found["chosen"]["views"] == ["identity", "hflip"]
    assert [s["view"] for s in found["steps"]] == ["hflip"]
    both = one.test.inputs["image"].sum(axis=(1, 2, 3)) > 0  # type: ignore[union-attr]
    plain = one.infer(one.test.inputs)["logits"].argmax(1)  # type: ignore[union-attr]
    target = one.test.target  # type: ignore[union-attr]
    assert target is not None
    assert found["chosen"]["test"]["accuracy"] == pytest.approx((both == target).mean(), abs=0.01)  # where the sum is 0
    assert found["plain"]["test"] == pytest.approx((plain == target).mean())
    drop = paired_drop(one.metric, (plain == target) * 1.0, (both == target) * 1.0)
    assert found["chosen"]["test"]["gain"] == pytest.approx(-drop.value, abs=0.01)
    assert found["chosen"]["test"]["gain_ci95"] == pytest.approx([-drop.high, -drop.low], abs=0.02)
    assert found["chosen"]["runs"] == 2
    assert found["chosen"]["cost"] > 1
    assert found["samples"] == {"validate": 600, "test": 900}


def test_a_set_grows_while_it_helps() -> None:
    """A lower error is better, and each of four looks takes some of it away."""
    rng = np.random.default_rng(0)
    image = rng.normal(size=(300, 1, SIDE, SIDE)).astype(np.float32)
    mean = image.mean(axis=(1, 2, 3))

    class Corner(LeftHalf):
        def run(self, feed: Arrays) -> dict[str, np.ndarray]:
            return {"logits": feed["image"][:, 0, :3, :3].mean(axis=(1, 2))[:, None].repeat(2, 1)}

    data = Data({"image": image}, mean[:, None].repeat(2, 1))
    one = Looker(Session(Corner(), SIGNATURE), Pipeline(), metric("mse"), data)
    found = greedy(one, "hflip,vflip,rot180,identity")
    assert sorted(found["chosen"]["views"]) == ["hflip", "identity", "rot180", "vflip"]
    errors = [found["plain"]["validate"], *(s["accuracy"] for s in found["steps"])]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-9  # all corners: the mean of the image
    assert found["chosen"]["validate"]["gain"] > 0
    assert found["chosen"]["test"] is None


def test_test_is_not_asked_where_no_view_helps() -> None:
    class Told(LeftHalf):
        def run(self, feed: Arrays) -> dict[str, np.ndarray]:
            light = feed["image"].sum(axis=(1, 2, 3))
            return {"logits": np.stack([-light, light], axis=1).astype(np.float32)}

    one = looker()
    found = greedy(Looker(Session(Told(), SIGNATURE), one.pipeline, one.metric, one.validate, one.test), "hflip,rot90")
    assert (found["chosen"]["tta"], found["chosen"]["test"], found["plain"]["test"]) == ("", None, None)


def test_usual_views_that_do_not_fit_are_left_out_with_a_reason() -> None:
    signature = Signature((Tensor("image", "float32", ("N", 1, SIDE, 8)),), SIGNATURE.outputs)
    wide = {n: np.repeat(a, 2, axis=3)[..., :8] for n, a in light(60, 1).inputs.items()}
    found = greedy(Looker(Session(LeftHalf(), signature), Pipeline(), metric("top1"), Data(wide, light(60, 1).target)))
    reasons = {row["view"]: row["reason"] for row in found["views"]}
    assert "swaps height and width" in reasons["rot90"]
    assert reasons["hflip"] == ""
    with pytest.raises(UsageError, match="swaps height"):
        greedy(
            Looker(Session(LeftHalf(), signature), Pipeline(), metric("top1"), Data(wide, light(60, 1).target)), "rot90"
        )


def test_without_labels_nothing_is_known() -> None:
    with pytest.raises(UsageError, match="labels"):
        greedy(looker(validate=Data(light(20, 1).inputs)), "hflip")


# ---- by the command


def half_file(path: Path) -> Path:
    """The same network as a file: the left half, by weights."""
    weights = np.zeros((SIDE, SIDE, 2), np.float32)
    weights[:, : SIDE // 2] = [-1, 1]
    constants = {"w": weights.reshape(-1, 2), "flat": np.array([-1, SIDE * SIDE])}
    nodes = [helper.make_node("Reshape", ["image", "flat"], ["rows"]), helper.make_node("MatMul", ["rows", "w"], ["y"])]
    return bundles.save(path, nodes, {"image": ["N", 1, SIDE, SIDE]}, {"y": ["N", 2]}, constants)


@pytest.fixture
def given(tmp_path: Path) -> tuple[Path, Path]:
    """A task file of the network, and a bundle of it."""
    from hasten.stage import Stage

    file = half_file(tmp_path / "half.onnx")
    (tmp_path / "task.py").write_text(
        f"import sys\nsys.path += {[str(folder) for folder in Path(__file__).parents[:3]]!r}\n"
        "from pathlib import Path\nfrom test_greedy import light\nfrom hasten import Answer, Pipeline, Task\n"
        f"task = Task('half', Path({str(file)!r}), 'top1', validate=lambda: light(300, 1), test=lambda: light(300, 2), "
        "pipeline=Pipeline(answer=Answer('classes')))\n"
    )
    answer = Pipeline(answer=Answer("classes"))
    cases = Data(light(80, 3).inputs)
    bundles.make(tmp_path / "bundle", stages=[Stage.of(file, bundles.engine())], pipeline=answer, cases=cases).close()
    return tmp_path / "task.py", tmp_path / "bundle"


def test_the_command(given: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task, bundle = given
    told = tmp_path / "r.json"
    assert main(["compare", str(task), "--tta", "hflip,vflip", "--json", str(told), "--engine", "onnxruntime"]) == 0
    shown = capsys.readouterr().out
    assert "--tta hflip --merge mean:outputs: top1" in shown
    result = json.loads(told.read_text())
    assert result["engine"].startswith("onnxruntime")
    assert result["chosen"]["tta"] == "hflip"
    assert main(["compare", str(bundle), "--task", str(task), "--tta", "hflip", "-q", "--json", str(told)]) == 0
    assert json.loads(told.read_text())["chosen"]["test"] == result["chosen"]["test"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{task}", "--tta", "hflip", "-o", "x"], "-o is of the comparison of techniques"),
        (["{task}", "--tta", "hflip", "--quick"], "--quick is of the comparison"),
        (["{task}", "--tta", "hflop"], "did you mean 'hflip'"),
        (["{task}", "--tta", "later=1"], "is a view of clips"),
        (["{task}", "--tta", "hflip", "--task", "{task}"], "--task is for a bundle"),
        (["{bundle}", "--tta"], "a bundle comes without labels"),
        (["{task}", "--merge", "max", "-o", "x"], "--merge goes with --tta"),
        (["{task}"], "-o DIR"),
    ],
)
def test_words_that_do_not_go_together(
    given: tuple[Path, Path], words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    task, bundle = given
    assert main(["compare", *(w.format(task=task, bundle=bundle) for w in words)]) == 2
    assert said in capsys.readouterr().err
