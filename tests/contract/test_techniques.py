"""The contract of techniques, held by every file found in compress/ and graph/, and by nothing that breaks it."""

import dataclasses
import itertools
import string
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_data, tiny_module

from hasten import find
from hasten.data import Data
from hasten.engine import available
from hasten.errors import ContractError, InputError, NotApplicable, UsageError
from hasten.export import export
from hasten.model import Arrays, Model, OnnxModel, TorchModel
from hasten.pipeline import Pipeline, Window
from hasten.prepare import Prepare
from hasten.provenance import MODULE, missing_names
from hasten.recipe import Recipe
from hasten.task import Task
from hasten.technique import Technique

TECHNIQUES = sorted(find.techniques())
NETWORKS = ("images", "padded", "fixed", "forest")
TOKENS, WORDS = 6, 20


def images() -> Task:
    """Bytes and a pipeline that prepares them; a space of smaller networks beside it."""
    module, data = tiny_module(), tiny_data(48, 2)
    raw = Data({"image": (data.inputs["image"][:, 0] * 60 + 80).clip(0, 255).astype(np.uint8)}, data.target)
    how = Prepare("image", source="grey", colour="grey", mean=(80.0,), std=(60.0,))
    return replace(
        _task("images", module, raw), pipeline=Pipeline({"image": how}), builder=narrow, space={"width": (2,)}
    )


def narrow(width: int) -> Any:
    from torch import nn

    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 4))


def padded() -> Task:
    """Attention over tokens, with a padding mask made of the lowest float: two integer inputs, no convolution."""
    import torch
    from torch import nn

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(WORDS, 16)
            self.query, self.key, self.value = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16)
            self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 4)
            self.mixed = nn.Sequential(nn.Linear(16, 16), nn.ReLU())

        def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
            x = self.words(tokens)
            hidden = torch.zeros(mask.shape).masked_fill(mask == 0, torch.finfo(torch.float32).min)
            scores = self.query(x) @ self.key(x).transpose(1, 2) / 4 + hidden[:, None]
            x = self.norm(x + torch.softmax(scores, -1) @ self.value(x))
            x = x + self.mixed(x)
            return {"logits": self.head(x[:, 0])}

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    mask = (np.arange(TOKENS) < rng.integers(1, TOKENS + 1, (48, 1))).astype(np.int64)
    data = Data({"tokens": rng.integers(0, WORDS, (48, TOKENS)), "mask": mask}, rng.integers(0, 4, 48))
    return _task("padded", Attention(), data)


def fixed() -> Task:
    """One sample a call, written into the graph; two outputs."""
    import torch
    from torch import nn

    class OneByOne(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.filter, self.head = nn.Conv1d(2, 16, 3), nn.Linear(16, 4)

        def forward(self, signal: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            wave = torch.relu(self.filter(signal.reshape(1, 2, 20)))
            return self.head(wave.mean(-1)), wave

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    return _task(
        "fixed", OneByOne(), Data({"signal": rng.normal(size=(24, 2, 20)).astype(np.float32)}, rng.integers(0, 4, 24))
    )


def _task(name: str, module: Any, data: Data) -> Task:
    """Every part of the data is there, since a technique may need any."""

    def loss(outputs: dict[str, Any], target: Any) -> Any:
        import torch

        return torch.nn.functional.cross_entropy(next(iter(outputs.values())), target)

    return Task(name, lambda: module.eval(), "top1", calibrate=data, validate=data, test=data, train=data, loss=loss)


def forest() -> Task:
    """Trees, and nothing that torch knows."""
    from forests import fitted, quadrants

    return quadrants(fitted)


def clips() -> Task:
    """Windows of three frames: an encoder for each, and a head over them."""
    import torch
    from torch import nn

    class Clips(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Sequential(nn.Conv2d(1, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(72, 8))
            self.head = nn.Linear(24, 4)

        def forward(self, frames: torch.Tensor) -> torch.Tensor:
            features = self.encoder(frames.flatten(0, 1))
            return self.head(features.reshape(-1, 24))

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    frames = rng.normal(size=(24, 3, 1, 8, 8)).astype(np.float32)
    made = _task("clips", Clips(), Data({"frames": frames}, rng.integers(0, 4, 24)))
    return replace(made, pipeline=Pipeline(window=Window(0.3, 10.0, 0.1)))


@cache
def task(network: str) -> Task:
    return {"images": images, "padded": padded, "fixed": fixed, "forest": forest, "clips": clips}[network]()


@cache
def subject(network: str, takes: str) -> Model:
    original = task(network).original
    if isinstance(original, OnnxModel):
        if takes == "torch":
            raise NotApplicable("there is no torch model of this network")
        return original
    return original if takes == "torch" else export(original, task(network).sample()).model


@cache
def applied(name: str, network: str) -> tuple[str, Model, Model | NotApplicable]:
    """The digest before, the model that went in, and what came out, with default settings."""
    kind = find.technique(name)
    if reason := kind.missing():
        pytest.skip(reason)
    try:
        before = subject(network, kind.takes)
    except NotApplicable as refusal:
        return (before := subject(network, "onnx")).digest(), before, refusal
    digest = before.digest()
    try:
        return digest, before, kind()(before, task(network))
    except NotApplicable as refusal:
        return digest, before, refusal


def made(name: str, network: str) -> tuple[Model, Model]:
    _, before, after = applied(name, network)
    if isinstance(after, NotApplicable):
        pytest.skip(f"says why not: {after}")
    return before, after


def feed(model: Model, network: str) -> Arrays:
    size = 8 if model.signature.batch else model.signature.fixed_batch
    return next(task(network).seen_by(model).split("validate").batches(size))


PAIRS = [*itertools.product(TECHNIQUES, NETWORKS), ("split", "clips")]  # which needs a window, as nothing else does


def on_every_network(test: Callable[..., None]) -> Callable[..., None]:
    pairs = pytest.mark.parametrize(("name", "network"), PAIRS)
    return pairs(test)


@on_every_network
def test_it_works_or_says_why_not(name: str, network: str) -> None:
    _, _, after = applied(name, network)
    assert isinstance(after, TorchModel | OnnxModel) or len(after.what) > 10


@pytest.mark.parametrize("name", TECHNIQUES)
def test_it_works_somewhere(name: str) -> None:
    assert any(not isinstance(applied(name, network)[2], NotApplicable) for one, network in PAIRS if one == name)


@on_every_network
def test_its_input_is_unchanged(name: str, network: str) -> None:
    digest, before, _ = applied(name, network)
    assert before.digest() == digest


@on_every_network
def test_signature_is_as_declared(name: str, network: str) -> None:
    before, after = made(name, network)
    assert after.signature == find.technique(name)().signature(before.signature)


@on_every_network
def test_outputs_are_finite_on_every_engine(name: str, network: str) -> None:
    _, after = made(name, network)
    for engine in available("torch" if isinstance(after, TorchModel) else "onnx"):
        if network == "forest" and not type(engine).__module__.endswith("onnxruntime"):
            continue  # which has trees
        with engine.compile(after) as session:
            answer = session(feed(after, network))
        assert all(np.isfinite(a).all() for a in answer.values() if a.dtype.kind == "f"), engine


@on_every_network
def test_nodes_name_the_users_module(name: str, network: str) -> None:
    before, after = made(name, network)
    if isinstance(after, OnnxModel):
        graph = before if isinstance(before, OnnxModel) else subject(network, "onnx")
        assert missing_names(graph.proto, after.proto) == []
        onnx.checker.check_model(after.proto, full_check=True)


@on_every_network
def test_history_gains_one_line_that_parses(name: str, network: str) -> None:
    before, after = made(name, network)
    assert after.history[:-1] == before.history
    assert Recipe.parse(after.history[-1]).steps == (find.technique(name)(),)


@on_every_network
def test_its_variants_print_and_are_distinct(name: str, network: str) -> None:
    kind = find.technique(name)
    if kind.takes == "onnx" and kind.missing() is None:
        tried = kind.variants(subject(network, "onnx"))
        assert len(set(tried)) == len(tried)
        assert [Recipe.parse(str(v)).steps for v in tried] == [(v,) for v in tried]


@pytest.mark.parametrize("name", TECHNIQUES)
def test_its_presets_print_and_are_distinct(name: str) -> None:
    given = replace(task("images"), students={"narrow": task("images").model})
    for those in (given, task("images")):
        presets = find.technique(name).presets(those, 3)
        assert len(set(presets)) == len(presets) <= 2
        assert [Recipe.parse(str(p)).steps for p in presets] == [(p,) for p in presets]


@pytest.mark.parametrize("name", TECHNIQUES)
def test_it_is_a_frozen_dataclass_that_explains_its_settings(name: str) -> None:
    kind = find.technique(name)
    step = kind()
    assert kind.__doc__
    assert "(" not in kind.__doc__.splitlines()[0][: len(kind.__name__) + 1]  # dataclass's own text, not the author's
    for field in dataclasses.fields(kind):
        assert f"{field.name}:" in kind.__doc__, f"the docstring does not explain {field.name}"
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(step, field.name, getattr(step, field.name))


@pytest.mark.parametrize("name", TECHNIQUES)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_parse_after_print_is_the_same(name: str, data: st.DataObject) -> None:
    kind = find.technique(name)
    hints, chosen = get_type_hints(kind), {}
    for field in data.draw(st.permutations(dataclasses.fields(kind))):
        value = data.draw(_values(hints[field.name]))
        try:
            kind(**chosen, **{field.name: value})
        except UsageError:  # the settings so far do not go with this one
            continue
        chosen[field.name] = value
    step = kind(**chosen)
    assert Recipe.parse(str(step)).steps == (step,)
    assert hash(step) == hash(kind(**chosen))


def _values(hint: Any) -> st.SearchStrategy[Any]:
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return st.sampled_from(inner)
    if origin is tuple:
        return st.lists(_values(inner[0]), max_size=3).map(tuple)
    if origin is Union or inner:
        return st.one_of(*map(_values, inner))
    return {
        bool: st.booleans(),
        int: st.integers(-10, 10**6),
        float: st.floats(allow_nan=False, allow_infinity=False),
        str: st.text(string.ascii_letters + string.digits + "_-.", min_size=1),
        type(None): st.none(),
    }[hint]


@dataclasses.dataclass(frozen=True)
class Faulty(Technique):
    """Breaks one promise of the contract, or none.

    Settings:
        fault: the promise.
    """

    fault: str = ""

    def apply(self, model: Model, task: Task) -> Model:
        assert isinstance(model, OnnxModel)
        copy = onnx.ModelProto()
        copy.CopyFrom(model.proto)
        graph = copy.graph
        match self.fault:
            case "changes its input":
                model.proto.graph.node[0].name += "_"
            case "renames an output":
                graph.output[0].name = graph.node[-1].output[0] = "renamed"
            case "gives NaN":
                weight = next(w for w in graph.initializer if w.name == "head.weight")
                weight.CopyFrom(onnx.numpy_helper.from_array(np.full(tuple(weight.dims), np.nan, "f"), weight.name))
            case "loses names":
                _rename_everything(graph)
            case "makes another kind":
                return task.original
        return OnnxModel(copy)


def _rename_everything(graph: onnx.GraphProto) -> None:
    ends = {v.name for v in (*graph.input, *graph.output)}
    del graph.value_info[:]
    for weight in graph.initializer:
        weight.name = f"new_{weight.name}"
    for node in graph.node:
        node.name = f"new_{node.name}"
        del node.metadata_props[:]
        for tensors in (node.input, node.output):
            tensors[:] = [t if t in ends else f"new_{t}" for t in tensors]


@pytest.mark.parametrize(
    "fault", ["changes its input", "renames an output", "gives NaN", "loses names", "makes another kind"]
)
def test_a_broken_promise_is_caught(fault: str) -> None:
    fresh = OnnxModel(onnx.ModelProto.FromString(subject("images", "onnx").proto.SerializeToString()))
    with pytest.raises(ContractError):
        Faulty(fault)(fresh, task("images"))


def test_a_kept_promise_passes() -> None:
    after = Faulty()(subject("images", "onnx"), task("images"))
    assert all(any(p.key == MODULE for p in node.metadata_props) for node in after.proto.graph.node)


def test_the_wrong_kind_is_refused() -> None:
    with pytest.raises(InputError, match="works on a onnx model"):
        Faulty()(task("images").original, task("images"))
