"""distil: a student learns from the original, from others, and from what they see inside."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import bundles
import numpy as np
import pytest
import torch
from tiny import CLASSES
from torch import nn
from trainable import accuracy, convolutions, quadrants

from hasten.answer import Answer
from hasten.compress._bundled import Bundled
from hasten.compress._hints import Hints, _Distance, _layers, _paired
from hasten.compress._learner import Learner
from hasten.compress.distil import Distil
from hasten.compress.heal import Heal
from hasten.engines.torch import call
from hasten.errors import InputError, NotApplicable, UsageError
from hasten.export import export
from hasten.model import TorchModel
from hasten.offline.ensemble.mean import averaged
from hasten.pipeline import Pipeline, Prepare
from hasten.stage import Stage
from hasten.task import Task


def narrow() -> nn.Module:
    return convolutions(4)


@pytest.fixture(scope="module")
def task() -> Task:
    """A trained original, a narrow student, and a second teacher."""
    fresh = quadrants(convolutions)
    made, other = (Heal(8, 1e-2, 32, 0.0).train(replace_seed(fresh, seed).original, fresh).module for seed in (0, 1))
    return quadrants(
        lambda: made,
        students={"narrow": narrow},
        teachers={"other": lambda: other},
    )


def replace_seed(task: Task, seed: int) -> Task:
    return replace(task, model=lambda: convolutions(seed=seed))


@pytest.mark.parametrize(
    "how",
    [
        Distil("narrow"), Distil("narrow", features=1.0), Distil("narrow", attention=10.0),
        Distil("narrow", teachers=("other",)), Distil(width=0.5),
    ],
    ids=str,
)  # fmt: skip
def test_a_student_learns(task: Task, how: Distil) -> None:
    made = replace(how, epochs=10, lr=1e-2, batch=32).apply(task.original, task)
    assert accuracy(task, made.module) > 0.9
    assert made.params < task.original.params / 2
    assert made.signature == task.original.signature
    layers = {"0.weight", "0.bias", "2.weight", "2.bias", "6.weight", "6.bias"}
    assert made.module.state_dict().keys() == layers, "adapters stay behind"


def test_the_original_can_be_left_out(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    followed: list[tuple[TorchModel, ...]] = []

    def train(how: Heal, model: TorchModel, task: Task, hint: object, teachers: tuple[TorchModel, ...]) -> TorchModel:
        followed.append(teachers)
        return model

    monkeypatch.setattr(Heal, "train", train)
    for how in (Distil("narrow"), Distil("narrow", teachers=("other",))):
        how.apply(task.original, task)
    Distil("narrow", teachers=("other",), original=False).apply(task.original, task)
    alone, together, other = ([t.digest() for t in each] for each in followed)
    assert alone == []  # which is the original
    assert together == [task.original.digest(), *other]
    assert len(other) == 1


def test_an_ensemble_is_a_teacher(task: Task, tmp_path: Path) -> None:
    """Of two bundles the mean, as it runs on its engine; the original keeps out."""
    made = []
    for name, net in (("one", task.model()), ("two", task.teachers["other"]())):
        stage = Stage.of(
            export(task.built(lambda net=net: net, name), task.sample()).model.save(tmp_path / f"{name}.onnx").path,
            bundles.engine(),
        )
        choice = Pipeline(answer=Answer("classes"))
        bundles.make(tmp_path / name, stages=[stage], pipeline=choice, cases=task.raw("validate")).close()
        made.append(tmp_path / name)
    both = replace(task, teachers={"both": averaged(made, tmp_path / "both"), "two": made[1]})
    how = Distil("narrow", teachers=("both",), original=False, teacher=1.0, epochs=10, lr=1e-2, batch=32)
    assert accuracy(both, how.apply(both.original, both).module) > 0.9
    teacher, second = (both.built(both.teachers[name], name) for name in both.teachers)
    assert teacher.digest() != second.digest()
    data = both.split("test")
    alone = [call(m.module, data.inputs)["output"].astype(float) for m in (task.original, second)]
    scores = [np.exp(a) / np.exp(a).sum(1, keepdims=True) for a in alone]
    np.testing.assert_allclose(np.exp(call(teacher.module, data.inputs)["output"]), np.mean(scores, 0), atol=1e-4)
    other = Pipeline({"image": Prepare("image", source="grey", colour="grey")}, answer=Answer("classes"))
    with pytest.raises(InputError, match="prepares 'image' otherwise"):
        Bundled(made[0], other, ["image"])
    with pytest.raises(UsageError, match="has nobody to learn from"):
        Distil("narrow", original=False)


def test_without_labels_it_is_the_original_that_is_learnt(task: Task) -> None:
    silent = replace(task, loss=None, metric="agreement")
    made = Distil("narrow", epochs=10, lr=1e-2, batch=32).apply(silent.original, silent)
    assert accuracy(task, made.module) > 0.9


def test_teachers_are_followed_in_equal_parts(task: Task) -> None:
    """With a second teacher that is sure of another class, the student is torn."""

    class Sure(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wrong = nn.Parameter(torch.zeros(1))

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return nn.functional.one_hot(torch.zeros(len(image), dtype=torch.long), CLASSES) * 60.0 + self.wrong

    biased = replace(task, teachers={"sure": Sure})
    how = Distil("narrow", teacher=1.0, epochs=10, lr=1e-2, batch=32)
    alone, torn = (replace(how, teachers=t).apply(biased.original, biased).module for t in ((), ("sure",)))
    first = [call(net, biased.split("test").inputs)["output"] for net in (alone, torn)]
    share = [np.exp(a - a.max(1, keepdims=True)) for a in first]
    of_class_0 = [float((s[:, 0] / s.sum(1)).mean()) for s in share]
    assert of_class_0[1] > of_class_0[0] + 0.1


@pytest.mark.parametrize(("features", "attention"), [(1.0, 0.0), (0.0, 1.0)])
def test_what_is_seen_inside_is_learnt(task: Task, features: float, attention: float) -> None:
    student = TorchModel.of(convolutions(8, seed=3), task.sample().inputs)
    hints = Hints(student, task.original, task.sample(), features, attention)
    data = task.split("test")

    @torch.no_grad()
    def distance(module: nn.Module) -> float:
        feed = [torch.from_numpy(data.inputs["image"])]
        seen = [module[: int(name) + 1](feed[0]) for name in hints.layers]
        return float(hints.module(seen, feed))

    before = distance(student.module)
    made = Heal(8, 1e-2, 32, precision="f32").train(student, task, hints).module
    assert list(hints.layers) == ["0", "2"]
    assert distance(made) < 0.5 * before


@torch.no_grad()
def test_distances_are_those_of_the_papers(task: Task) -> None:
    student = TorchModel.of(convolutions(8, seed=3), task.sample().inputs)
    feed = [torch.from_numpy(task.split("test").inputs["image"][:20])]
    mine, his = ([net[:1](feed[0]), net[:3](feed[0])] for net in (student.module, task.original.module))
    hints = Hints(student, task.original, task.sample(), 2.0, 0.0)
    wanted = 0.0
    for adapter, a, b in zip(hints.module.adapters, mine, his, strict=True):
        wanted += float(((torch.einsum("nchw,dc->ndhw", a, adapter.weight) - b) ** 2).mean() / b.var()) / 2 * 2.0
    assert float(hints.module(mine, feed)) == pytest.approx(wanted, rel=1e-4)
    maps = [[x.square().mean(1).flatten(1) for x in side] for side in (mine, his)]
    units = [[m / m.norm(dim=1, keepdim=True) for m in side] for side in maps]
    wanted = sum(float(((a - b) ** 2).sum(1).mean()) for a, b in zip(*units, strict=True)) / 2 * 3.0
    hints = Hints(student, task.original, task.sample(), 0.0, 3.0)
    assert float(hints.module(mine, feed)) == pytest.approx(wanted, rel=1e-4)


def test_layers_are_paired_by_depth_and_size() -> None:
    feed = [torch.zeros(2, 1, 8, 8)]
    layers = [nn.Conv2d(1 if i == 0 else 4, 4, 3, padding=1) for i in range(6)]
    deep = nn.Sequential(*layers, nn.Flatten(), nn.Linear(256, 4))
    short = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1), nn.Flatten(), nn.Linear(128, 4))
    pairs = [(mine.name, his.name) for mine, his in _paired(_layers(short, feed), _layers(deep, feed))]
    assert pairs == [("0", "2"), ("1", "5")]


class Channels(nn.Module):
    """A hint that tells how many channels each layer gave."""

    def forward(self, features: Sequence[torch.Tensor], feed: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.tensor([float(f.shape[1]) for f in features])


@dataclass
class Backwards:
    layers: tuple[str, ...]
    module: nn.Module = field(default_factory=Channels)


@torch.no_grad()
def test_layers_that_run_in_another_order_than_they_are_paired(task: Task) -> None:
    """Those of the student and those of the teacher: what belongs together is known by name."""
    feed = [torch.from_numpy(task.sample().inputs["image"][:2])]
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Conv2d(3, 5, 3), nn.Flatten(), nn.Linear(80, 4))
    assert Learner(net, Backwards(("1", "0")))(feed)[1].tolist() == [5, 3]
    mine = [convolutions(8, seed=3)[:n](feed[0]) for n in (1, 3)]
    student = TorchModel.of(convolutions(8, seed=3), task.sample().inputs)
    pairs = _paired(_layers(student.module, feed), _layers(task.original.module, feed))
    there, back = (_Distance(task.original.module, p, 0.0, 1.0) for p in (pairs, pairs[::-1]))
    assert len(mine) == len(pairs)
    assert float(there(mine, feed)) == pytest.approx(float(back(mine[::-1], feed)), rel=1e-5)
    assert float(there(mine, feed)) != pytest.approx(float(there(mine[::-1], feed)), rel=1e-2)


def test_no_layers_of_one_size_are_said(task: Task) -> None:
    flat = replace(task, students={"flat": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 7), nn.Linear(7, 4))})
    with pytest.raises(NotApplicable, match="no layer of the student gives features of the size"):
        Distil("flat", features=1.0).apply(flat.original, flat)
    student = flat.built(flat.students["flat"], "student")
    with pytest.raises(NotApplicable):
        Hints(student, flat.original, flat.sample(), 0.0, 1.0)


def test_a_narrow_copy_has_weights_of_its_own(task: Task) -> None:
    made = Distil(epochs=1, lr=1e-6).apply(task.original, task)
    assert made.module[0].out_channels == 8
    theirs = {tuple(row.tolist()) for row in task.original.module[0].weight.flatten(1)}
    assert not any(tuple(row.tolist()) in theirs for row in made.module[0].weight.flatten(1))


@pytest.mark.parametrize(("student", "said"), [("narow", "did you mean 'narrow'?"), ("zzz", "there are: narrow")])
def test_an_unknown_student_is_refused(task: Task, student: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Distil(student).apply(task.original, task)


def test_an_unknown_teacher_is_refused(task: Task) -> None:
    with pytest.raises(UsageError, match="did you mean 'other'"):
        Distil("narrow", teachers=("othr",)).apply(task.original, task)


def test_a_student_of_another_signature_is_refused(task: Task) -> None:
    wide = replace(task, students={"wide": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 5))})
    with pytest.raises(InputError, match=r"the student 'wide' is .*\[N, 5\]; the original is .*\[N, 4\]"):
        Distil("wide").apply(wide.original, wide)


@pytest.mark.parametrize(
    "wrong", [{"width": 0.0}, {"width": 1.0}, {"features": -1.0}, {"attention": -1.0}, {"lr": 0.0}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="cannot train"):
        Distil(**wrong)
