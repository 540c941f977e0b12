"""Makes the files of a search: exports, and applies recipes, in a child process, since quantizers leak and crash."""

from pathlib import Path
from typing import Any

from hasten.model import OnnxModel
from hasten.recipe import Recipe
from hasten.task import Task


class Maker:
    """Served by a Child; arguments and answers are plain values."""

    def __init__(self) -> None:
        self._tasks: dict[tuple[str, ...], Task] = {}

    def make(self, recipe: str, door: dict[str, str], base: str | None, out: str) -> dict[str, Any]:
        """Apply `recipe` and write the ONNX file `out`, whole or not at all.

        Args:
            door: {"task": path} or {"model": path, "metric": name, "calibrate": folder}.
            base: the exported file, where there is one: recipes of graph passes alone start from it.
            out: where the file goes.
        """
        task, steps = self._task(door), Recipe.parse(recipe)
        graph_only = all(step.takes == "onnx" for step in steps.steps)
        made = steps(_loaded(Path(base)) if base and graph_only else task.original, task)
        made.save(Path(out))
        return {"params": made.params, "size_mb": made.size_mb}

    def variants(self, base: str) -> list[str]:
        """The recipes of graph passes worth trying on the file `base`, as their authors judge, most promising first."""
        from hasten.find import techniques

        model = _loaded(Path(base))
        return [
            str(step)
            for kind in techniques().values()
            if kind.takes == "onnx" and kind.missing() is None
            for step in kind.variants(model)
        ]

    def _task(self, door: dict[str, str]) -> Task:
        known = tuple(door.values())
        if known not in self._tasks:
            self._tasks[known] = Task.load(door["task"]) if "task" in door else Task.of_files(**door)
        return self._tasks[known]


def _loaded(path: Path) -> OnnxModel:
    return OnnxModel.load(path)
