"""Makes the files of a search: exports, and applies recipes, in a child process, since quantizers leak and crash."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from hasten import checkpoint, files
from hasten.export import export
from hasten.model import Model, OnnxModel, TorchModel
from hasten.recipe import Recipe
from hasten.search.trial import key_of
from hasten.task import Task

Note = dict[str, Any]
NOTE = "note.json"


class Maker:
    """Served by a Child; arguments and answers are plain values."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}

    def make(self, recipe: str, door: dict[str, Any], base: str | None, out: str, torch: str) -> Note:
        """Apply `recipe` and write the ONNX file `out`, whole or not at all.

        Args:
            door: {"task": path, "at_most": {part: samples}} or {"model": path, "metric": name, "calibrate": folder}.
            base: the exported file, where there is one: recipes of graph passes alone start from it.
            out: where the file goes.
            torch: a folder of checkpoints, and of graphs that came of training: what a recipe makes of the torch model
                is made once for all that begin so.

        Returns:
            What `note` tells: the seconds that the steps took, those that another recipe had them take among them; and
            why layers were left as they are, by step. What techniques tell of the file is in `said`.
        """
        task, steps = self._task(door), Recipe.parse(recipe).steps
        graph_only = all(step.takes == "onnx" for step in steps)
        model: Model = OnnxModel.load(base) if base and graph_only else task.original
        note: Note = {"seconds": 0.0, "untouched": {}, "said": []}
        for done, step in enumerate(steps, 1):
            kept = Path(torch) / key_of(str(Recipe(steps[:done])), "torch")
            if (kept / checkpoint.PLAN).exists():
                model, note = checkpoint.load(kept, task), json.loads((kept / NOTE).read_text())
                continue
            if (file := kept.with_suffix(".onnx")).exists():
                model, note = OnnxModel.load(file), json.loads(file.with_suffix(".json").read_text())
                continue
            began, known = time.monotonic(), len(model.edits) if isinstance(model, TorchModel) else 0
            if step.takes == "onnx" and isinstance(model, TorchModel):
                model = export(model, task.seen_by(model).sample()).model
            model = step(model, task)
            edits = model.edits[known:] if isinstance(model, TorchModel) else ()
            left = {layer: why for edit in edits for layer, why in edit.get("untouched", {}).items()}
            note = {
                "seconds": note["seconds"] + time.monotonic() - began,
                "untouched": note["untouched"] | ({str(step): left} if left else {}),
                "said": list(model.said) if isinstance(model, OnnxModel) else [],
            }
            if isinstance(model, TorchModel):
                checkpoint.save(model, kept, {NOTE: json.dumps(note)})
            elif step.takes == "torch":
                files.write(file.with_suffix(".json"), json.dumps(note))
                model.save(file)
        made = export(model, task.seen_by(model).sample()).model if isinstance(model, TorchModel) else model
        files.write(Path(out).with_suffix(".json"), json.dumps(note))
        made.save(Path(out))
        return note

    def variants(self, base: str) -> list[str]:
        """The recipes of graph passes worth trying on the file `base`, as their authors judge, most promising first."""
        from hasten.find import techniques

        model = OnnxModel.load(base)
        return [
            str(step)
            for kind in techniques().values()
            if kind.takes == "onnx" and kind.missing() is None
            for step in kind.variants(model)
        ]

    def _task(self, door: dict[str, Any]) -> Task:
        known = json.dumps(door)
        if known not in self._tasks:
            if "task" in door:
                self._tasks[known] = replace(Task.load(door["task"]), at_most=door["at_most"])
            else:
                self._tasks[known] = Task.of_files(**door)
        return self._tasks[known]
