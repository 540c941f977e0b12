"""Drift: has the task's pipeline moved away from the one in a bundle? Told field by field, in words."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from hasten.answer import Answer
from hasten.bundle import Bundle
from hasten.errors import UsageError
from hasten.pipeline import Pipeline
from hasten.prepare import Prepare
from hasten.recipe import Recipe
from hasten.task import Task


def behind(bundle: Bundle, task: Task) -> Task:
    """The task as a bundle sees it: with what the bundle's recipe changed in the pipeline."""
    try:
        return task.after(Recipe.parse(bundle.recipe).steps)
    except UsageError:  # a bundle that was not made by `boost` says in words what it is
        return task


def drift(bundled: Pipeline, trained: Pipeline) -> list[str]:
    """What differs, one sentence each: `window.seconds: 3.0 in the bundle, 2.0 in the task`; empty when nothing does.

    A task that says nothing about its answer, or has no `prepare` for an input that is an array, differs in nothing.
    """
    names = sorted({*bundled.inputs, *trained.inputs})
    plain = Prepare()
    pairs: list[tuple[str, Any, Any]] = [
        (f"inputs.{n}", asdict(bundled.inputs.get(n, plain)), asdict(trained.inputs.get(n, plain))) for n in names
    ]
    pairs.append(("window", bundled.window and asdict(bundled.window), trained.window and asdict(trained.window)))
    if trained.answer != Answer():
        pairs.append(("answer", asdict(bundled.answer), asdict(trained.answer)))
    return [said for name, old, new in pairs for said in _differences(name, old, new)]


def _differences(name: str, old: Any, new: Any) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in old:
            yield from _differences(f"{name}.{key}", old[key], new[key])
    elif old != new:
        yield f"{name}: {_said(old)} in the bundle, {_said(new)} in the task"


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items())
    return "none" if value is None else str(value)
