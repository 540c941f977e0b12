"""heal: it learns, it resumes, it says what it cannot do."""

import os
import socket
import subprocess
import sys
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from trainable import accuracy, convolutions, quadrants

from hasten.compress import _training
from hasten.compress._hints import Hints
from hasten.compress._teacher import answers_of, taught
from hasten.compress.heal import Heal
from hasten.data import Data
from hasten.errors import InputError, UsageError
from hasten.model import TorchModel
from hasten.task import Task

QUICK = Heal(epochs=3, lr=1e-2, batch=32, teacher=0.0, precision="f32")


@pytest.fixture(scope="module")
def task() -> Task:
    """Its original is trained."""
    fresh = quadrants(convolutions)
    made = Heal(epochs=8, lr=1e-2, batch=32, teacher=0.0).train(fresh.original, fresh).module
    return quadrants(lambda: made)


def fresh(task: Task, seed: int = 5) -> TorchModel:
    return TorchModel.of(convolutions(seed=seed), task.sample().inputs)


def weights(module: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def test_it_learns_from_labels(task: Task) -> None:
    assert accuracy(task, fresh(task).module) < 0.6
    assert accuracy(task, Heal(epochs=8, lr=1e-2, batch=32, teacher=0.0).train(fresh(task), task).module) > 0.95


def test_it_learns_from_the_original_alone(task: Task) -> None:
    silent = quadrants(task.model, loss=None, metric="agreement")
    made = Heal(epochs=8, lr=1e-2, batch=32).train(fresh(task), silent).module
    assert accuracy(task, made) > 0.95


def test_it_learns_numbers_from_the_original(task: Task) -> None:
    """Without a choice between classes it is the distance that falls."""
    parts = {part: Data(task.split(part).inputs) for part in ("train", "validate", "test")}
    numbers = quadrants(task.model, loss=None, metric="mse", **parts)
    wanted = answers_of(task.original, numbers.split("validate"))["output"]

    def off(module: nn.Module) -> float:
        model = TorchModel.of(module, numbers.sample().inputs)
        return float(np.square(answers_of(model, numbers.split("validate"))["output"] - wanted).mean() / wanted.var())

    made = Heal(epochs=8, lr=1e-2, batch=32).train(fresh(task), numbers).module
    assert off(made) < 0.2 < off(fresh(task).module)


def test_the_best_epoch_stays(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """A score that falls from epoch to epoch: what stays is the first."""
    states = []

    def score(self: _training.Training) -> float:
        states.append({k: v.clone() for k, v in self._network().state_dict().items()})
        return -float(len(states))

    monkeypatch.setattr(_training.Training, "_score", score)
    made = QUICK.train(fresh(task), task).module
    assert all(torch.equal(made.state_dict()[k], v) for k, v in states[0].items())
    assert not torch.equal(states[0]["0.weight"], states[2]["0.weight"])


def test_it_stops_when_nothing_is_gained(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(_training.Training, "_score", lambda self: float(seen.append(1) or 0.5))
    Heal(epochs=50, batch=64, patience=2, precision="f32").train(fresh(task), task)
    assert len(seen) == 3


def test_a_seed_is_a_result(task: Task) -> None:
    made = [weights(Heal(2, 1e-2, 32, 0.0, precision="f32", seed=s).train(fresh(task), task).module) for s in (0, 0, 1)]
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_the_callers_random_numbers_are_his(task: Task) -> None:
    student = fresh(task)
    torch.manual_seed(1)
    wanted = torch.rand(3)
    torch.manual_seed(1)
    QUICK.train(student, task)
    assert torch.equal(torch.rand(3), wanted)


@pytest.mark.parametrize("after", [1, 2])
def test_it_goes_on_where_it_was_interrupted(task: Task, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    how = Heal(4, 1e-2, 32, 0.3, precision="f32", seed=after)
    whole = how.train(fresh(task), task).module
    epochs, keep = [], _training.Training._keep
    run = _training.Training._epoch

    def killed(self: _training.Training, best: object) -> None:
        keep(self, best)
        if len(self.history) == after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_training.Training, "_keep", killed)
        with pytest.raises(KeyboardInterrupt):
            how.train(fresh(task), task)
    monkeypatch.setattr(_training.Training, "_epoch", lambda self: (epochs.append(1), run(self))[1])
    assert torch.equal(weights(how.train(fresh(task), task).module), weights(whole))
    assert len(epochs) == 4 - after


def test_a_training_towards_something_else_is_another_one(task: Task) -> None:
    """What was interrupted is gone on with by the same training alone."""

    def state(of: Task, hint: Hints | None = None) -> Path:
        return _training.Training(fresh(task), of, Heal(epochs=2, batch=32), hint, ()).state

    def weighed(features: float, attention: float) -> Hints:
        return Hints(fresh(task), task.original, task.sample(), features, attention)

    def loss(outputs: Any, target: Any) -> torch.Tensor:
        return nn.functional.cross_entropy(outputs["output"], target, label_smoothing=0.1)

    other = quadrants(lambda: convolutions(seed=9))
    states = [state(task), state(other), state(replace(task, loss=loss))]
    states += [state(task, weighed(*w)) for w in ((1.0, 0.0), (10.0, 0.0), (1.0, 5.0))]
    assert len(set(states)) == len(states)
    assert state(task, weighed(1.0, 0.0)) == states[3]


def test_a_teacher_answers_once(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    from hasten.compress import _teacher

    data = task.split("train")
    first = {k: np.array(v) for k, v in taught(task.original, data).items()}
    asked: list[int] = []
    monkeypatch.setattr(_teacher, "answers_of", lambda t, some: (asked.append(len(some)), answers_of(t, some))[1])
    again = taught(task.original, data)
    assert asked == [_teacher.FEW]
    assert all(np.array_equal(first[k], again[k]) for k in first)


def test_teachers_of_the_same_weights_are_told_apart(task: Task) -> None:
    """What `forward` does with them counts."""
    plain, negative = task.original, replace(task.original, module=Minus(task.original.module))
    assert plain.digest() != negative.digest()  # by the names alone
    plain = replace(plain, module=nn.Sequential(OrderedDict(inner=plain.module)))
    assert plain.digest() == negative.digest()
    data = task.split("validate")
    np.testing.assert_array_equal(taught(plain, data)["output"], -taught(negative, data)["output"])


class Minus(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -self.inner(x)


def test_a_fixed_batch_answers_for_all(task: Task) -> None:
    three = TorchModel(task.original.module, task.original.signature)
    fixed = TorchModel(
        three.module,
        type(three.signature).from_json(
            {"inputs": [{"name": "image", "dtype": "float32", "shape": [3, 1, 8, 8]}],
             "outputs": [{"name": "output", "dtype": "float32", "shape": [3, 4]}]}
        ),
    )  # fmt: skip
    data = task.split("validate")
    np.testing.assert_allclose(answers_of(fixed, data)["output"], answers_of(three, data)["output"], atol=1e-5)


TWO = """
import sys
sys.path[:0] = {paths!r}
import torch
from trainable import convolutions, quadrants
from hasten.compress.heal import Heal
task = quadrants(convolutions)
made = Heal(2, 1e-2, 32, {teacher}, precision="f32").train(task.original, task).module
torch.save([p.detach() for p in made.parameters()], {out!r} + os.environ.get("RANK", "0"))
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.mark.parametrize("teacher", [0.0, 0.5])
def test_two_processes_learn_as_one(tmp_path: Path, teacher: float) -> None:
    """The same samples a step, so the same steps but for the order of sums."""
    here = Path(__file__).parent
    script = tmp_path / "train.py"
    paths = [str(here.parent)]
    script.write_text("import os" + TWO.format(paths=paths, teacher=teacher, out=str(tmp_path / "weights")))
    env = os.environ | {"HASTEN_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(free_port())]
    ended = subprocess.run([*launch, str(script)], env=env, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-2000:]
    first, second = (torch.load(tmp_path / f"weights{rank}", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    task = quadrants(convolutions)
    alone = Heal(2, 1e-2, 32, teacher, precision="f32").train(task.original, task).module
    apart = max(float((a - b).detach().abs().max()) for a, b in zip(first, alone.parameters(), strict=True))
    moved = max(float((a - b).detach().abs().max()) for a, b in zip(first, convolutions().parameters(), strict=True))
    assert apart < 0.01 * moved


def test_a_loss_that_is_no_number_is_said(task: Task) -> None:
    with pytest.raises(InputError, match=r"diverges: the loss is .*; lower the rate: lr=2\.5e\+29"):
        Heal(1, 1e30, 32, 0.0, precision="f32").train(fresh(task), task)


def test_nothing_to_learn_from_is_said(task: Task) -> None:
    with pytest.raises(InputError, match="has nothing to learn from: the task has no loss"):
        Heal(teacher=0.0).train(fresh(task), quadrants(task.model, loss=None))


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"batch": 0}, {"patience": 0}, {"lr": 0.0}, {"teacher": 1.5}, {"temperature": 0.0}, {"seed": -1}],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="cannot train"):
        Heal(**wrong)


def test_bf16_learns_too(task: Task) -> None:
    made = Heal(8, 1e-2, 32, 0.0, precision="bf16").train(fresh(task), task).module
    assert accuracy(task, made) > 0.9
    assert all(p.dtype == torch.float32 for p in made.parameters())
