"""The maker: what is noted of a file belongs to the step that did it."""

from pathlib import Path

from hasten.search.maker import Maker

TASK_FILE = """
import sys
sys.path.append({tests!r})
from torch import nn
from trainable import convolutions, quadrants

task = quadrants(lambda: convolutions(seed=3), at_most={{"train": 64, "validate": 64}})
"""


def test_layers_left_alone_are_noted_under_the_step_that_left_them(tmp_path: Path) -> None:
    (tmp_path / "task.py").write_text(TASK_FILE.format(tests=str(Path(__file__).parents[1])))
    door = {"task": str(tmp_path / "task.py"), "at_most": {}}
    maker, steps = Maker(), ("prune(epochs=1)", "prune(epochs=1) > heal(epochs=1)")
    notes = [maker.make(s, door, None, str(tmp_path / f"{i}.onnx"), str(tmp_path)) for i, s in enumerate(steps)]
    assert list(notes[0]["untouched"]) == list(notes[1]["untouched"]) == ["prune(epochs=1)"]
    assert notes[1]["seconds"] > notes[0]["seconds"] > 0
