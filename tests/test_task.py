"""The door for tasks: what a task file can do wrong is a sentence with its line; two tasks never mix."""

from pathlib import Path

import numpy as np
import pytest
from tiny import tiny_data

from hasten.data import Data
from hasten.errors import HastenError, InputError, UsageError
from hasten.task import Task

HEAD = """import numpy as np
from hasten import Data, Task
def data(): return Data({"x": np.zeros((4, 3), np.float32)}, np.zeros(4, np.int64))
def net():
    import torch
    return torch.nn.Linear(3, 2)
"""


def task_file(folder: Path, text: str, **neighbours: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in neighbours.items():
        (folder / f"{name}.py").write_text(content)
    (folder / "task.py").write_text(text)
    return folder / "task.py"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\nraise ValueError('no\\nluck')", r"raises ValueError: no \(task.py, line 2\)"),
        ("x = 1\ny = (", r"SyntaxError: .* \(task.py, line 2\)"),
        ("import sys\nsys.exit(0)", r"SystemExit: 0 \(task.py, line 2\)"),
        ("import nothing_of_that_name", r"ModuleNotFoundError: .* \(task.py, line 1\)"),
        ("x = 1", "defines no task"),
        ("", "defines no task"),
        ("task = {'name': 'x'}", "its `task` is of type dict"),
        ("import broken", r"ZeroDivisionError: .* \(broken.py, line 3\)"),
        (HEAD + "task = Task('t', net(), 'top1')", r"model is of type Linear.*; give a function"),
        (HEAD + "task = Task('t', 'model.onnx', 'top1')", "model is of type str"),
        (HEAD + "task = Task('', net, 'top1')", "name is of type str"),
        (HEAD + "task = Task('t', net, 5)", "metric is of type int"),
        (HEAD + "task = Task('t', net, 'top1', calibrate={})", "calibrate is of type dict"),
        (HEAD + "task = Task('t', net, 'top1', loss='mse')", "loss is of type str"),
        (HEAD + "task = Task('t', net, 'top1', pipeline=1)", "pipeline is of type int"),
        (HEAD + "task = Task('t', net, 'top1', students=[net])", "students is of type list"),
        (HEAD + "task = Task('t', net, 'top1', space=3)", "space is of type int"),
        (HEAD + "task = Task('t', net, 'top1', builder=net, space={'width': ()})", "space is .* a dict of choices"),
        (HEAD + "task = Task('t', net, 'top1', builder=3)", "builder is of type int"),
        (HEAD + "task = Task('t', net, 'top1', space={'width': (1, 2)})", "a space and no builder"),
        (HEAD + "task = Task('t', net, 'top1', builder=net)", "a builder and no space"),
        (HEAD + "\nData({})", r"the data is empty \(task.py, line 8\)"),
    ],
)
def test_files_that_are_no_task(text: str, words: str, tmp_path: Path) -> None:
    path = task_file(tmp_path, text, broken="\n\n1 / 0\n")
    with pytest.raises(InputError, match=words) as fault:
        Task.load(path)
    assert str(path) in str(fault.value)
    assert "\n" not in str(fault.value)
    assert fault.value.mend


def test_an_unknown_metric_is_a_matter_of_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'top1'"):
        Task.load(task_file(tmp_path, HEAD + "task = Task('t', net, 'topp1')"))


@pytest.mark.parametrize(
    ("where", "words"), [("nowhere.py", "does not exist"), ("", "is a folder"), ("task.txt", "not a Python file")]
)
def test_paths_that_are_no_task(where: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "task.txt").write_text("task = 1")
    with pytest.raises(InputError, match=words):
        Task.load(tmp_path / where)


@pytest.mark.parametrize(
    ("text", "ask", "words"),
    [
        (
            "def f(): raise OSError('gone')\ntask = Task('t', net, 'top1', validate=f)",
            "validate",
            r"validate data raises OSError: gone \(task.py, line 7\)",
        ),
        ("def f(): raise SystemExit(1)\ntask = Task('t', net, 'top1', validate=f)", "validate", "SystemExit"),
        ("task = Task('t', net, 'top1', validate=lambda: 5)", "validate", "validate data is of type int"),
        ("task = Task('t', net, 'top1')", "validate", "has no validate data"),
        (
            "def f(): raise KeyError('w')\ntask = Task('t', f, 'top1', validate=data)",
            "original",
            r"model raises KeyError: 'w' \(task.py, line 7\)",
        ),
        (
            "task = Task('t', lambda: {'weight': 1}, 'top1', validate=data)",
            "original",
            "of type dict; return the module itself",
        ),
        ("task = Task('t', lambda: None, 'top1', validate=data)", "validate", "of type NoneType"),
        (
            "task = Task('t', net, 'top1', validate=lambda: Data({'x': np.full((2, 3), np.nan, np.float32)}))",
            "validate",
            "not finite in sample 0",
        ),
        (
            "task = Task('t', net, 'top1', calibrate=data, validate=lambda: Data({'z': np.zeros((2, 3), np.float32)}))",
            "validate",
            "this model has",
        ),
        (
            "task = Task('t', net, 'top1', calibrate=data, validate=lambda: Data({'x': np.zeros((2, 3))}))",
            "validate",
            "astype",
        ),
        (
            "task = Task('t', net, 'top1', validate=lambda: Data({'x': np.zeros((2, 3), np.float32)}))",
            "validate",
            "agreement",
        ),
        (
            "task = Task('t', net, 'top1', validate=lambda: Data(data().inputs, np.arange(4)))",
            "validate",
            "2 classes",
        ),
    ],
)
def test_functions_that_fail(text: str, ask: str, words: str, tmp_path: Path) -> None:
    task = Task.load(task_file(tmp_path, HEAD + text))
    with pytest.raises(InputError, match=words):
        task.original if ask == "original" else task.split(ask)


def test_a_good_file(tmp_path: Path) -> None:
    task = Task.load(task_file(tmp_path, HEAD + "task = Task('t', net, 'top1', calibrate=data, validate=data)"))
    assert task.source == tmp_path / "task.py"
    assert len(task.split("validate")) == 4
    assert task.split("validate") is task.split("validate")
    assert task.original is task.original


def test_neighbours_of_one_name_do_not_mix(tmp_path: Path) -> None:
    """Imported on top, and inside functions called after the other task was loaded; packages and their parts too."""
    text = (
        "import net\nfrom hasten import Data, Task\nimport numpy as np\n"
        "def data():\n    import late\n    import net as again\n    from parts import piece\n    assert again is net\n"
        "    return Data({'x': np.full((2, 3), net.WHO * 100 + late.WHO * 10 + piece.WHO, np.float32)})\n"
        "def module():\n    import torch\n    import later\n    return torch.nn.Linear(3, later.WHO)\n"
        "task = Task('t', module, 'mse', validate=data)"
    )
    tasks = []
    for who in (1, 2):
        folder = tmp_path / str(who)
        (folder / "parts").mkdir(parents=True)
        (folder / "parts" / "__init__.py").write_text("")
        (folder / "parts" / "piece.py").write_text(f"WHO = {who}")
        tasks.append(Task.load(task_file(folder, text, net=f"WHO = {who}", late=f"WHO = {who}", later=f"WHO = {who}")))
    assert [t.sample().inputs["x"][0, 0] for t in tasks] == [111, 222]
    assert [t.original.signature.outputs[0].shape[1] for t in reversed(tasks)] == [2, 1]


def test_modules_of_a_task_can_be_found_again(tmp_path: Path) -> None:
    """As exporters and pickles do."""
    import pickle

    text = (
        HEAD
        + "from dataclasses import dataclass\n@dataclass\nclass Size:\n    width: 'int' = 3\n"
        + "task = Task('t', net, 'top1', students={'s': Size})"
    )
    task = Task.load(task_file(tmp_path, text))
    assert pickle.loads(pickle.dumps(task.students["s"]())) == task.students["s"]()


def test_the_second_door(tiny_onnx: Path, tmp_path: Path) -> None:
    data = tiny_data(20, 9)
    np.savez(tmp_path / "v.npz", **data.arrays())
    data.save(tmp_path / "c")
    task = Task.of_files(tiny_onnx, "top1", calibrate=tmp_path / "c", validate=tmp_path / "v.npz")
    assert task.split("validate").digest() == data.digest() == task.split("calibrate").digest()
    assert task.original.signature.inputs[0].name == "image"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: Data({"picture": d.inputs["image"]}, d.target), "this model has"),
        (lambda d: Data({"image": d.inputs["image"][:, :, :4]}, d.target), "shape"),
        (lambda d: Data({"image": d.inputs["image"].astype(np.float64)}, d.target), r"astype\(np.float32\)"),
        (lambda d: Data(d.inputs, d.target + 4), "4 classes"),
        (lambda d: Data(d.inputs), "agreement"),
    ],
)
def test_the_second_doors_data(change, words: str, tiny_onnx: Path, tmp_path: Path) -> None:
    change(tiny_data(20, 9)).save(tmp_path / "v")
    with pytest.raises(InputError, match=words):
        Task.of_files(tiny_onnx, "top1", validate=tmp_path / "v").split("validate")


def test_the_second_door_has_the_gate(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"PK\x03\x04 a checkpoint")
    tiny_data(4, 0).save(tmp_path / "v")
    with pytest.raises(HastenError, match="zip archive"):
        Task.of_files(tmp_path / "m.onnx", "top1", validate=tmp_path / "v").split("validate")
