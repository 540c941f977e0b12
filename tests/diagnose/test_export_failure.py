"""What cannot be exported: module, line, kind and remedy are named; --fix mends it with equal answers."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from breaking import CASES, HERE, Case, Report
from torch import nn

from hasten.data import Data
from hasten.diagnose import export_fix
from hasten.diagnose.export_failure import Failure
from hasten.engine import available
from hasten.engines.torch import call
from hasten.errors import InputError
from hasten.export import Exported, export
from hasten.model import TorchModel
from hasten.task import Task


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def model(case: Case) -> TorchModel:
    torch.manual_seed(0)
    return TorchModel.of(case.net(), {k: v[:1] for k, v in case.samples().items()})


@cache
def tried(case: Case) -> tuple[list[Failure], Exported | InputError]:
    """Exported with fix: every failure that was found on the way, and the end."""
    seen: list[Failure] = []
    plain = export_fix.diagnose

    def noted(*about) -> Failure:
        seen.append(plain(*about))
        return seen[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_fix, "diagnose", noted)
        try:
            return seen, export(model(case), Data(case.samples()), fix=True)
        except InputError as fault:
            return seen, fault


by_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.net.__name__)


@by_case
def test_module_line_and_kind_are_named(case: Case) -> None:
    failure = tried(case)[0][0]
    assert (failure.module, failure.kind.name) == (case.module, case.kind)
    assert failure.line is not None
    assert (failure.line.file, failure.line.number) == (str(HERE), case.line)
    assert failure.line.text.endswith("# breaks")


@by_case
def test_the_remedy_is_offered(case: Case) -> None:
    failure = tried(case)[0][0]
    what, mend = failure.sentence
    assert f"breaking.py, line {case.line}: `" in what
    assert "dynamo: " in what
    assert "torchscript: " in what
    assert "\n" not in what + mend
    if case.rewrite:
        assert f"`hasten export --fix` {export_fix.rewrites()[case.rewrite].SAYS}" in mend
    else:
        assert "--fix" not in mend
        assert case.by_hand in mend


@by_case
def test_fix_mends_it_with_equal_answers(case: Case) -> None:
    """On samples that the export has not seen, in batches of sizes that it has not seen."""
    end = tried(case)[1]
    if not case.rewrite:
        assert isinstance(end, InputError)
        assert "no rewrite mends it" in str(end)
        return
    assert isinstance(end, Exported)
    assert end.rewrites == (f"{case.rewrite} in {case.module}",)
    with available("onnx")[0].compile(end.model) as session:
        for seed, size in enumerate((2, 7)):
            feed = {"x": np.random.default_rng(9 + seed).normal(size=(size, *case.shape)).astype(np.float32)}
            wanted = call(model(case).module, feed)["output"]
            np.testing.assert_allclose(session(feed)["output"], wanted, atol=2e-5)


def test_plain_export_says_all_of_it_in_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    case = CASES[0]
    with pytest.raises(InputError, match=r"in blocks\.1 \(Gate\), breaking\.py, line \d+: `if x\.mean\(\) > 0\.5:"):
        export(model(case), Data(case.samples()))
    assert capfd.readouterr() == ("", "")


def test_an_answer_of_more_than_tensors_is_opened() -> None:
    samples = Data({"x": np.random.default_rng(0).normal(size=(24, 8)).astype(np.float32)})
    torch.manual_seed(0)
    net = Report().eval()
    task = Task("report", lambda: net, "mse", validate=samples)
    with pytest.raises(InputError, match="the model's 'scores' is a list"):
        task.original.signature  # noqa: B018
    opened, rewrites = export_fix.opened(task)
    assert rewrites == ("plain_outputs in the network itself",)
    made = export(opened, samples, fix=True)
    assert [t.name for t in made.model.signature.outputs] == ["scores.0", "scores.1", "features"]
    feed = {"x": samples.inputs["x"][:5]}
    with torch.inference_mode():
        wanted = net(torch.from_numpy(feed["x"]))["scores"][1].numpy()
    with available("onnx")[0].compile(made.model) as session:
        np.testing.assert_allclose(session(feed)["scores.1"], wanted, atol=1e-5)


def test_two_faults_take_two_rewrites() -> None:
    inverse, ranked = (next(c for c in CASES if c.rewrite == name).net() for name in ("inverse", "ranked"))

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.clean, self.white = ranked.clean, inverse.body[1]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.white(self.clean(x))

    data = Data({"x": np.random.default_rng(0).normal(size=(24, 3, 6)).astype(np.float32)})
    made = export(TorchModel.of(Both(), {"x": data.inputs["x"][:1]}), data, fix=True)
    assert set(made.rewrites) == {"ranked in clean", "inverse in white"}


def test_what_writes_into_its_input_can_be_exported_as_it_is() -> None:
    class Adds(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x.add_(1)
            return x * 2

    data = Data({"x": np.random.default_rng(0).normal(size=(24, 4)).astype(np.float32)})
    before = data.inputs["x"].copy()
    made = export(TorchModel.of(Adds(), {"x": before[:1].copy()}), data)
    assert made.rewrites == ()
    np.testing.assert_array_equal(data.inputs["x"], before)


def test_the_call_is_named_that_becomes_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no exporter raises and nothing leaves torch: each call is tried alone."""
    from importlib import import_module

    def wrong(model: TorchModel, *about):
        graph = plain(model, *about)
        for node in graph.graph:
            if node.op_type == "Tanh":
                node.op_type = "Sin"
        return graph

    table = import_module("hasten.exporters")._EXPORTERS
    plain = table["torchscript"]
    for name in table:
        monkeypatch.setitem(table, name, wrong)

    class Waves(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.cos(x) * 2
            x = torch.tanh(x)
            return x + 1

    net = nn.Sequential(nn.Linear(4, 4), Waves())
    data = Data({"x": np.random.default_rng(0).normal(size=(24, 4)).astype(np.float32)})
    with pytest.raises(InputError, match=r"into something else in 1 \(Waves\), .*line \d+: `x = torch\.tanh\(x\)`"):
        export(TorchModel.of(net, {"x": data.inputs["x"][:1]}), data)


def test_every_rewrite_has_a_row_on_its_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text()
    assert [name for name in export_fix.rewrites() if f"| `{name}` |" not in page] == []


def test_every_case_is_marked_once() -> None:
    assert Path(HERE).read_text().count("# breaks\n") == len(CASES)
