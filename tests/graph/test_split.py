"""split: where time is mixed, and that a stage for frames and one for windows answer as the whole."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hasten import Answer, Bundle, Data, Pipeline, Task, Window
from hasten.engines.onnxruntime import OnnxRuntime
from hasten.errors import NotApplicable
from hasten.export import export
from hasten.graph.split import Split, halves, stages
from hasten.model import OnnxModel, TorchModel

FRAMES = 6
WINDOW = Window(1.0, float(FRAMES), 0.5)


class Merged(nn.Module):
    """Frames become samples, are encoded, and become frames again; then a recurrent head."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(1), nn.Linear(48, 8)
        )
        self.memory, self.head = nn.GRU(8, 5, batch_first=True), nn.Linear(5, 2)

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        n, frames = clip.shape[:2]
        features = self.encoder(clip.reshape(n * frames, *clip.shape[2:])).reshape(n, frames, -1)
        return self.head(self.memory(features)[0][:, -1])


class Solid(nn.Module):
    """3-D convolutions, of which the first two look at one frame each."""

    def __init__(self, first: int = 1) -> None:
        super().__init__()
        self.space = nn.Conv3d(3, 4, (first, 3, 3), padding=(first // 2, 1, 1))
        self.again = nn.Conv3d(4, 4, (1, 3, 3), (1, 2, 2))
        self.time, self.head = nn.Conv3d(4, 6, (3, 1, 1)), nn.Linear(6, 2)

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.again(torch.relu(self.space(clip.transpose(1, 2)))))
        return self.head(torch.relu(self.time(x)).mean((2, 3, 4)))


class Attentive(nn.Module):
    """Linear layers along the frames, places that are learnt, and attention over time; the frames' mean joins again."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(9 * 7 * 3, 16), nn.Linear(16, 16)
        self.places = nn.Parameter(torch.randn(FRAMES, 16))
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.head = nn.Linear(16, 2)

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        once = torch.tanh(self.first(clip.flatten(2)))
        x = self.second(once) + self.places
        return self.head((self.attention(x, x, x, need_weights=False)[0] + once).mean(1))


class Still(nn.Module):
    """No frame knows of another."""

    def __init__(self) -> None:
        super().__init__()
        self.only = nn.Linear(9 * 7 * 3, 2)

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        return self.only(clip.flatten(2))


def made(build: Callable[[], nn.Module]) -> tuple[Task, OnnxModel]:
    torch.manual_seed(0)
    module = build().eval()
    clips = np.random.default_rng(0).normal(size=(40, FRAMES, 3, 9, 7)).astype(np.float32)
    data = Data({"clip": clips})
    task = Task("clips", lambda: module, "mse", calibrate=data, validate=data, pipeline=Pipeline(window=WINDOW))
    assert isinstance(task.original, TorchModel)
    return task, export(task.original, task.sample()).model


@pytest.mark.parametrize(("build", "heavy"), [(Merged, (2, 4)), (Solid, (2, 4)), (Attentive, (2, 0))])
def test_two_stages_answer_as_the_whole(build: Callable[[], nn.Module], heavy: tuple[int, int], tmp_path: Path) -> None:
    task, model = made(build)
    parts = halves(model, task.pipeline, task.sample())
    assert parts.heavy[0] == heavy[0]
    assert parts.frame.signature.inputs[0].shape == ("N", 3, 9, 7)
    whole = Split()(model, task)
    assert whole.signature == model.signature
    assert isinstance(whole, OnnxModel)
    cut = stages(whole.save(tmp_path / "m.onnx"), task.pipeline, task.sample(), OnnxRuntime(threads=1), tmp_path)
    assert [(s.name, s.when) for s in cut] == [("frame", "frame"), ("window", "window")]
    bundle = Bundle.write(
        tmp_path / "bundle", stages=cut, pipeline=Pipeline(window=WINDOW, answer=Answer()), recipe="split",
        measurements={}, conditions={}, cases=task.raw("validate"),
    )  # fmt: skip
    feed = dict(task.split("validate").inputs)
    with bundle, OnnxRuntime(threads=1).compile(model) as session:
        for name, expected in session(feed).items():
            np.testing.assert_allclose(bundle(feed)[name], expected, atol=1e-5)


def test_every_node_of_the_parts_tells_its_module() -> None:
    task, model = made(Merged)
    parts = halves(model, task.pipeline, task.sample())
    told = {p.value for part in (parts.frame, parts.window) for n in part.proto.graph.node for p in n.metadata_props}
    assert {"encoder.0", "encoder.4", "memory", "head"} <= told


def test_time_that_is_mixed_early_is_said_with_the_module() -> None:
    task, model = made(lambda: Solid(3))
    with pytest.raises(NotApplicable, match=r"at once: Conv .* of the module 'space'"):
        Split()(model, task)


def test_a_network_that_never_mixes_time_is_said() -> None:
    task, model = made(Still)
    with pytest.raises(NotApplicable, match="never mixes"):
        Split()(model, task)


def test_without_a_window_there_is_nothing_to_do() -> None:
    task, model = made(Merged)
    with pytest.raises(NotApplicable, match="no time window"):
        halves(model, Pipeline(), task.sample())


def test_parts_that_answer_otherwise_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame stage that sees another network's weights: the proof on data finds it."""
    import hasten.graph.split as module

    task, model = made(Merged)
    honest = module.cut

    def wrong(*given: object) -> object:
        parts = honest(*given)  # type: ignore[arg-type]
        weights = next(w for w in parts.frame.proto.graph.initializer if w.name.endswith("4.weight"))
        weights.raw_data = (np.frombuffer(weights.raw_data, np.float32) * 1.01).astype(np.float32).tobytes()
        return parts

    monkeypatch.setattr(module, "cut", wrong)
    with pytest.raises(NotApplicable, match="differs by"):
        halves(model, task.pipeline, task.sample())
