"""export: what comes out is what torch computes, under the signature's names, in one file."""

from importlib import import_module

import numpy as np
import onnx
import pytest
import torch
from tiny import tiny_data
from torch import nn

from hasten.data import Data
from hasten.errors import InputError, MissingError
from hasten.export import TOLERANCE, Exported, export
from hasten.exporters import OPSET, OPSETS
from hasten.model import TorchModel
from hasten.provenance import module_of
from hasten.task import Task

EXPORT = import_module("hasten.export")  # `hasten.export` is the function
EXPORTERS = import_module("hasten.exporters")
RNG = np.random.default_rng(0)
TOKENS = Data({"tokens": RNG.integers(0, 9, (20, 5)), "mask": RNG.integers(0, 2, (20, 5))})
SIGNAL = Data({"signal": RNG.normal(size=(20, 2, 10)).astype(np.float32)})


def exported(module: nn.Module, data: Data) -> Exported:
    return export(TorchModel.of(module, data.take(slice(0, 1)).inputs), data)


def modules(made: Exported) -> list[str | None]:
    return [module_of(node) for node in made.model.proto.graph.node]


class Tokens(nn.Module):
    """Two integer inputs; an output called like an operator's parameter; an input that comes out again."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(9, 8)
        self.layers = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 3)])

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.embedding(tokens) * mask[..., None]
        x = torch.relu(self.layers[0](x))
        return {"embedding": x, "logits": self.layers[1](x).sum(1), "tokens_again": tokens, "twice": x}


class OneByOne(nn.Module):
    """The batch is written into it."""

    def __init__(self) -> None:
        super().__init__()
        self.filter = nn.Conv1d(2, 4, 3)

    def forward(self, signal: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.filter(signal.reshape(1, 2, 10)).mean(-1), signal * 2


class ByValue(nn.Module):
    """A branch that depends on values: one exporter refuses, the other one freezes what it saw."""

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        return signal * 2 if float(signal.sum()) > 0 else signal * 3


class Frozen(nn.Module):
    """A branch that always goes one way on real data: dynamo refuses it, tracing gets it right."""

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        return signal * 2 if float(signal.abs().sum()) > 0 else signal * 3


@pytest.fixture(scope="module")
def tokens() -> Exported:
    return exported(Tokens(), TOKENS)


def test_names_and_axes_are_the_signatures(tiny_task: Task, tokens: Exported) -> None:
    assert str(tokens.model.signature.inputs[1]) == "mask int64 [N, 5]"
    assert [str(t) for t in tokens.model.signature.outputs] == [
        "embedding float32 [N, 5, 8]",
        "logits float32 [N, 3]",
        "tokens_again int64 [N, 5]",
        "twice float32 [N, 5, 8]",
    ]
    assert (tokens.exporter, tokens.opset, tokens.model.opset) == ("dynamo", OPSET, OPSET)
    assert tokens.max_abs_difference < 1e-5
    made = export(tiny_task.original, tiny_task.sample())
    assert made.model.signature == tiny_task.original.signature
    assert 0 < made.max_abs_difference < 1e-4


def test_names_are_unique_and_the_file_is_valid(tokens: Exported) -> None:
    graph = tokens.model.proto.graph
    values = [v.name for v in (*graph.input, *graph.initializer)] + [o for n in graph.node for o in n.output]
    assert len(set(values)) == len(values)
    assert not any("network" in name for name in values)
    onnx.checker.check_model(tokens.model.proto, full_check=True)


def test_weights_are_inside_and_the_exporters_notes_are_not(tokens: Exported) -> None:
    proto = tokens.model.proto
    assert not any(w.external_data for w in proto.graph.initializer)
    assert b"pkg.torch" not in proto.SerializeToString()
    assert __file__.encode() not in proto.SerializeToString()


def test_nodes_name_the_users_modules(tiny_task: Task, tokens: Exported) -> None:
    assert modules(export(tiny_task.original, tiny_task.sample())) == [
        "stem",
        "act",
        "body",
        "act2",
        "pool",
        "flat",
        "head",
    ]  # stem, not the batch norm that was folded into it
    assert {"embedding", "layers.0", "layers.1"} <= set(modules(tokens))


def test_a_fixed_batch_stays_fixed() -> None:
    made = exported(OneByOne(), SIGNAL)
    assert [str(t) for t in made.model.signature.inputs] == ["signal float32 [1, 2, 10]"]
    assert [t.name for t in made.model.signature.outputs] == ["output0", "output1"]


def test_what_dynamo_refuses_the_older_exporter_takes() -> None:
    made = exported(Frozen(), SIGNAL)
    assert made.exporter == "torchscript"
    assert made.max_abs_difference == 0
    assert str(made.model.signature.inputs[0]) == "signal float32 [N, 2, 10]"


def test_the_older_exporter_names_modules_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXPORTERS._EXPORTERS, "dynamo", _refuse)
    made = exported(Tokens(), TOKENS)
    assert made.exporter == "torchscript"
    assert {"embedding", "layers.0", "layers.1"} <= set(modules(made))
    assert made.model.signature == TorchModel.of(Tokens(), TOKENS.inputs).signature


def _refuse(*_: object) -> None:
    raise RuntimeError("no")


def test_other_opsets_are_tried_where_they_may_help(monkeypatch: pytest.MonkeyPatch) -> None:
    """Newest first, each exporter's own; not where torch itself could not be followed."""
    tried: list[tuple[str, int]] = []
    plain = EXPORTERS._EXPORTERS["torchscript"]

    class SymbolicValueError(Exception):
        pass

    def at(exporter: str, fault: type[Exception], works: int = 0):
        def made(model: TorchModel, example: object, opset: int, linked: bool) -> object:
            tried.append((exporter, opset))
            if opset == works:
                return plain(model, example, opset, linked)
            raise fault("no")

        return made

    monkeypatch.setitem(EXPORTERS._EXPORTERS, "dynamo", at("dynamo", RuntimeError))
    monkeypatch.setitem(EXPORTERS._EXPORTERS, "torchscript", at("torchscript", SymbolicValueError, 17))
    made = exported(Tokens(), TOKENS)
    assert (made.exporter, made.opset) == ("torchscript", 17)
    assert tried == [("dynamo", 20), ("torchscript", 20), *(("torchscript", n) for n in (19, 18, 17))]


@pytest.mark.parametrize("exporter", sorted(OPSETS))
def test_an_exporter_writes_the_opsets_that_it_is_said_to(exporter: str) -> None:
    model = TorchModel.of(nn.Linear(3, 2), {"x": np.ones((1, 3), np.float32)})
    example = {"x": np.ones((3, 3), np.float32)}
    for opset in (max(OPSETS[exporter]), min(OPSETS[exporter])):
        assert EXPORTERS.write(exporter, model, example, opset).opset == opset


def test_where_both_refuse_the_sentence_has_both_reasons(capfd: pytest.CaptureFixture[str]) -> None:
    signal = np.ones((24, 2, 10), np.float32)
    signal[16:] = -1
    reasons = r"dynamo: .*data-dependent.*torchscript: 'output' differs from torch by"
    with pytest.raises(InputError, match=reasons) as said:
        exported(ByValue(), Data({"signal": signal}))
    assert "\n" not in str(said.value)
    assert capfd.readouterr() == ("", "")


def test_a_graph_that_answers_otherwise_is_never_handed_over(tiny_task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    from hasten.engines.torch import call

    scale = 1 + 3 * TOLERANCE
    monkeypatch.setattr("hasten.engines.torch.call", lambda m, a: {k: v * scale for k, v in call(m, a).items()})
    with pytest.raises(InputError, match="differs from torch"):
        export(tiny_task.original, tiny_task.sample())


def test_a_graph_made_for_one_batch_size_is_never_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    class Sized(nn.Module):
        """Tracing writes down the size that it saw."""

        def forward(self, signal: torch.Tensor) -> torch.Tensor:
            return signal * int(signal.shape[0])

    monkeypatch.setitem(EXPORTERS._EXPORTERS, "dynamo", _refuse)
    with pytest.raises(InputError, match=r"differs from torch by .* at batch 16"):
        exported(Sized(), SIGNAL)


def test_the_module_is_left_as_it_was(tiny_task: Task) -> None:
    before = tiny_task.original.digest()
    export(tiny_task.original, tiny_task.sample())
    assert tiny_task.original.digest() == before
    assert not any(name.startswith("network") for name, _ in tiny_task.original.module.named_modules())


def test_history_goes_along(tiny_task: Task) -> None:
    model = tiny_task.original.recorded(("prune(0.5)",))
    assert export(model, tiny_data(8, 0)).model.history == ("prune(0.5)",)


def test_without_an_engine_it_says_what_to_install(tiny_task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EXPORT, "available", lambda takes: [])
    with pytest.raises(MissingError, match="pip install"):
        export(tiny_task.original, tiny_task.sample())
