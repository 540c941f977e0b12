"""Every technique on every network of the zoo: it works, or says which part it cannot touch and why."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from hasten import checkpoint, find
from hasten.data import Data
from hasten.engine import available
from hasten.engines import _rtx
from hasten.errors import NotApplicable
from hasten.export import export
from hasten.graph.lint import lint
from hasten.graph.quantize import Quantize
from hasten.model import Model, OnnxModel, TorchModel
from hasten.task import Task

ZOO = Path(__file__).parents[2] / "examples" / "zoo"
NETWORKS = ("plain", "residual", "mobile", "transformer", "recurrent", "tones")
REACHED = {"plain": 0.90, "residual": 0.90, "mobile": 0.90, "transformer": 0.85, "recurrent": 0.88, "tones": 0.97}
FEW = {"train": 256, "calibrate": 128, "validate": 256, "test": 512}  # samples: here it is seen that all goes together
RECURRENT = {"GRU", "RNNSeq", "RNNCell"}
WHOLE = {  # techniques after which the network has to answer nearly as before, without further training
    "simplify": 0.0, "half": 0.02, "quantize": 0.08, "heal": 0.08, "quantize_aware": 0.08,
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Two test processes on two cores: more threads would wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@cache
def task(network: str) -> Task:
    """With a few samples of each part of the data."""
    whole = Task.load(ZOO / f"{network}.py")
    few = {part: whole.raw(part).take(slice(0, n)) for part, n in FEW.items()}
    return replace(whole, **few)


@cache
def exported(network: str) -> OnnxModel:
    original = task(network).original
    assert isinstance(original, TorchModel)
    return export(original, task(network).sample()).model


@cache
def applied(name: str, network: str) -> Model | NotApplicable:
    kind = find.technique(name)
    if reason := kind.missing():
        pytest.skip(reason)
    try:
        return kind()(task(network).original if kind.takes == "torch" else exported(network), task(network))
    except NotApplicable as refusal:
        return refusal


def score(model: Model, network: str) -> float:
    """On the test data, by the first engine here that takes it."""
    data, metric = task(network).seen_by(model).split("test"), task(network).measure
    with available("torch" if isinstance(model, TorchModel) else "onnx")[0].compile(model) as session:
        return float(metric.total(metric.rows(session(data.inputs), data.target)))


@pytest.mark.parametrize("network", NETWORKS)
def test_the_networks_are_trained(network: str) -> None:
    assert score(task(network).original, network) > REACHED[network] - 0.02  # of 512 samples


@pytest.mark.parametrize("name", sorted(find.techniques()))
@pytest.mark.parametrize("network", NETWORKS)
def test_it_works_or_says_what_it_cannot_touch(name: str, network: str) -> None:
    made = applied(name, network)
    if isinstance(made, NotApplicable):
        assert "nothing to do: " in made.what
        return
    if name in WHOLE:
        assert score(made, network) >= score(task(network).original, network) - WHOLE[name]
    for edit in made.edits if isinstance(made, TorchModel) else ():
        assert all(reason for reason in edit.get("untouched", {}).values())


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("network", NETWORKS)
def test_every_layer_that_is_placed_runs_in_int8(name: str, network: str) -> None:
    """On the engine that the file is made for; recurrent layers are not meant for it."""
    step = Quantize(method="placed", engine=name)
    made = step(exported(network), task(network))
    with find.engine(name)(threads=1).compile(made) as session:
        floats = [layer for layer in session.compiled.layers() if layer.heavy and layer.precision != "i8"]
    assert [layer.op for layer in floats if layer.op not in RECURRENT] == []
    assert score(made, network) > score(task(network).original, network) - 0.02


@pytest.mark.parametrize("network", ["residual", "recurrent", "transformer"])
def test_what_is_placed_for_tensorrt_breaks_no_rule_and_builds(network: str) -> None:
    made = Quantize(method="placed", engine="tensorrt")(exported(network), task(network))
    assert lint(made) == ()
    assert score(made, network) > score(task(network).original, network) - 0.02
    if _rtx.missing() is None:
        assert find.engine("tensorrt_rtx")().build(made)


@pytest.mark.parametrize(
    "name", sorted(n for n, kind in find.techniques().items() if kind.takes == "torch" and kind.gives != "onnx")
)
@pytest.mark.parametrize("network", NETWORKS)
def test_what_it_makes_is_exported_and_kept(name: str, network: str, tmp_path: Path) -> None:
    made = applied(name, network)
    if isinstance(made, NotApplicable):
        return  # what it said of that is asked for above
    assert isinstance(made, TorchModel)
    again = checkpoint.load(checkpoint.save(made, tmp_path / "c"), task(network))
    assert again.digest() == made.digest()
    seen = task(network).seen_by(again)
    graph = export(again, seen.sample())
    assert graph.model.params <= exported(network).params
    data: Data = seen.split("test").take(slice(0, 64))
    from hasten.engines.torch import call

    before, after = (call(m.module, data.inputs)["output"] for m in (made, again))
    assert np.array_equal(before, after)
