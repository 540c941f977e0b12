"""Checkpoints: what was compressed comes back to the bit, and nothing in the files is run."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from trainable import convolutions, quadrants

from hasten import checkpoint
from hasten.compress.distil import Distil
from hasten.compress.prune import Prune
from hasten.engines.torch import call
from hasten.errors import InputError
from hasten.model import TorchModel
from hasten.recipe import Recipe
from hasten.task import Task


@pytest.fixture(scope="module")
def task() -> Task:
    net = convolutions(32)
    return quadrants(lambda: net, students={"narrow": lambda: convolutions(4)})


def after(recipe: str, task: Task) -> TorchModel:
    made = task.original
    for step in Recipe.parse(recipe).steps:
        made = step(made, task)
    assert isinstance(made, TorchModel)
    return made


@pytest.mark.parametrize(
    "recipe",
    [
        "heal(epochs=1)", "prune(0.5)", "prune(0.5, importance=random) > heal(1) > prune(0.5)",
        "distil(narrow, epochs=1)",
        "distil(width=0.5, epochs=1) > prune(0.5, epochs=1)",
    ],
)  # fmt: skip
def test_it_comes_back_to_the_bit(tmp_path: Path, task: Task, recipe: str) -> None:
    made = after(recipe, task)
    again = checkpoint.load(checkpoint.save(made, tmp_path / "c"), task)
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["plan.json", "weights.safetensors"]
    assert again.history == made.history
    assert again.signature == made.signature
    assert again.digest() == made.digest()
    feed = task.split("test").inputs
    assert np.array_equal(call(again.module, feed)["output"], call(made.module, feed)["output"])
    further = Prune(0.5, widths=(2, 3, 4)).apply(again, task)
    assert further.params < again.params, "and can be compressed further"


def test_it_is_written_whole_or_not_at_all(tmp_path: Path, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    first = checkpoint.save(after("prune(0.5)", task), tmp_path / "c")
    before = {p.name: p.read_bytes() for p in first.iterdir()}
    monkeypatch.setattr(checkpoint.json, "dumps", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        checkpoint.save(task.original, tmp_path / "c")
    assert {p.name: p.read_bytes() for p in first.iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda p: (p / "plan.json").unlink(), "is not a checkpoint (FileNotFoundError"),
        (lambda p: (p / "plan.json").write_text("{"), "is not a checkpoint (JSONDecodeError"),
        (lambda p: (p / "plan.json").write_text("[]"), "is not a checkpoint (TypeError"),
        (lambda p: (p / "weights.safetensors").write_bytes(b"\x80\x04pickled"), "is not a checkpoint (Safetensor"),
        (lambda p: change(p, format=2), "has the format 2, this hasten reads 1; use a newer hasten"),
        (lambda p: change(p, weights="0" * 64), "is not the file that the plan was written for"),
        (lambda p: change(p, edits=[1]), "has an edit without a technique"),
        (lambda p: change(p, edits=[{"technique": "prune"}]), "lacks 'sizes'"),
        (lambda p: change(p, edits=[{"technique": "heal"}]), "Heal changes no structure"),
        (
            lambda p: change(p, edits=[{"technique": "prune", "sizes": {"0": {"forward": 3}}}]),
            "the network has no number 'forward' in its module '0'",
        ),
        (
            lambda p: change(p, edits=[{"technique": "prune", "sizes": {"0": {"out_channels": "8"}}}]),
            "the network has no number 'out_channels' in its module '0'",
        ),
        (lambda p: change(p, edits=[]), "'0.weight' has another size than its layer"),
    ],
)
def test_what_is_broken_is_said(tmp_path: Path, task: Task, edit: object, said: str) -> None:
    folder = checkpoint.save(after("prune(0.5)", task), tmp_path / "c")
    edit(folder)
    with pytest.raises(InputError, match=re.escape(said)):
        checkpoint.load(folder, task)


def change(folder: Path, **values: object) -> None:
    plan = json.loads((folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps(plan | values))


def test_another_network_is_refused(tmp_path: Path, task: Task) -> None:
    from torch import nn

    folder = checkpoint.save(after("prune(0.5)", task), tmp_path / "c")
    other = replace(task, model=lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 4)))
    with pytest.raises(InputError, match="the network has no number 'out_channels' in its module '0'"):
        checkpoint.load(folder, other)
    folder = checkpoint.save(Distil("narrow", epochs=1)(task.original, task), tmp_path / "d")
    with pytest.raises(InputError, match="differ in"):
        checkpoint.load(
            folder, replace(task, students={"narrow": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 4))})
        )
