"""shrink_input: less to look at, through a pipeline that everything behind it uses."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hasten import Bundle, Data, Pipeline, Prepare, Task, Window, checkpoint
from hasten.boost import _ship
from hasten.cli import main
from hasten.compress import _exits, _training
from hasten.compress._images import folded, greyed, reader
from hasten.compress.heal import Heal
from hasten.compress.shrink_input import ShrinkInput
from hasten.engines.onnxruntime import OnnxRuntime
from hasten.engines.torch import call
from hasten.errors import InputError, NotApplicable, UsageError
from hasten.measure.flops import count
from hasten.model import TorchModel
from hasten.recipe import Recipe
from hasten.search.bench import Bench
from hasten.search.judge import Judge
from hasten.search.trial import Trial
from hasten.search.workshop import Workshop

IMAGE = Prepare("image", mean=(90.0, 100.0, 110.0), std=(50.0, 60.0, 70.0))
FPS, FRAMES = 8.0, 8


def pixels(n: int, seed: int) -> Data:
    """RGB uint8 [n, 16, 16, 3], of which the label names the bright quadrant."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 4, n)
    image = rng.integers(0, 120, (n, 16, 16, 3))
    for i, label in enumerate(target):
        row, column = divmod(int(label), 2)
        image[i, row * 8 : row * 8 + 8, column * 8 : column * 8 + 8] += 100
    return Data({"image": image.astype(np.uint8)}, target)


class Net(nn.Module):
    """Pooled to 2x2, so that any number of pixels will do."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 8, 3, bias=False)
        self.second, self.pool = nn.Conv2d(8, 8, 3, padding=1), nn.AdaptiveAvgPool2d(2)
        self.head = nn.Linear(32, 4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.second(torch.relu(self.first(image))))
        return self.head(self.pool(x).flatten(1))


class Clips(nn.Module):
    """The mean of what each frame gives, [N, frames, C, H, W] -> [N, 4]."""

    def __init__(self) -> None:
        super().__init__()
        self.each = Net()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.each(image.flatten(0, 1)).unflatten(0, (-1, image.shape[1])).mean(1)


def loss(outputs: dict[str, torch.Tensor], target: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(next(iter(outputs.values())), target)


def of(net: nn.Module, parts: list[Data], **changed: Any) -> Task:
    train, calibrate, validate, test = parts
    task = Task("pixels", lambda: net, "top1", calibrate, validate, test, train, loss, Pipeline({"image": IMAGE}))
    return replace(task, **changed) if changed else task


PARTS = [pixels(n, seed) for n, seed in ((256, 1), (64, 2), (200, 3), (200, 4))]


@pytest.fixture(scope="module")
def task() -> Task:
    torch.manual_seed(0)
    fresh = of(Net(), PARTS)
    trained = Heal(6, 1e-2, 32, teacher=0.0, precision="f32").train(fresh.original, fresh).module
    return of(trained, PARTS)


@pytest.fixture(scope="module")
def clips() -> Task:
    """Each frame of a clip has a number: the brightness of its first pixel."""
    parts = []
    for part in PARTS:
        raw = np.repeat(part.inputs["image"][:24, None], FRAMES, 1)
        raw[:, :, 0, 0] = 10 * np.arange(FRAMES)[:, None]
        parts.append(Data({"image": raw}, part.target[:24]))
    torch.manual_seed(0)
    return of(Clips(), parts, pipeline=Pipeline({"image": IMAGE}, Window(1.0, FPS, 0.5)))


def right(task: Task, model: TorchModel) -> float:
    data = task.seen_by(model).split("test")
    return float(task.measure.rows(call(model.module, data.inputs), data.target).mean())


def test_everything_behind_it_sees_the_smaller_input(task: Task, tmp_path: Path) -> None:
    made = ShrinkInput(0.5, epochs=3, lr=5e-3)(task.original, task)
    seen = task.seen_by(made)
    assert made.signature.inputs[0].shape == ("N", 3, 8, 8)
    assert seen.pipeline.inputs["image"] == replace(IMAGE, size=(8, 8))
    assert seen.split("calibrate").inputs["image"].shape == (64, 3, 8, 8)
    np.testing.assert_array_equal(
        seen.split("validate").inputs["image"], seen.pipeline.prepared(PARTS[2].inputs)["image"]
    )
    assert seen.raw("validate").inputs["image"].shape == (200, 16, 16, 3), "from what is raw"
    assert seen.original is task.original
    assert seen is task.seen_by(made), "prepared once"
    assert task.split("validate").inputs["image"].shape == (200, 3, 16, 16)
    assert right(task, made) > 0.9
    again = checkpoint.load(checkpoint.save(made, tmp_path / "c"), task)
    assert (again.digest(), again.signature) == (made.digest(), made.signature)
    graph = Recipe.parse("simplify")(again, task)
    assert graph.signature == made.signature
    assert task.seen_by(graph) is seen


def test_the_surface_is_that_of_the_untouched_network(task: Task) -> None:
    made = ShrinkInput(0.75)(task.original, task)
    surface = made.edits[0]["surface"]
    settings = [(p["side"], p["grey"]) for p in surface]
    assert settings == [(s, g) for s in (1.0, 0.85, 0.7, 0.5) for g in (False, True)] + [(0.75, False)]
    whole = task.split("validate")
    expected = task.measure.rows(call(task.original.module, whole.inputs), whole.target).mean()
    assert surface[0]["accuracy"] == pytest.approx(expected, abs=1e-6)
    assert surface[0]["samples"] == 200
    smaller = task.seen_by(made).split("validate")
    untouched = task.measure.rows(call(task.original.module, smaller.inputs), smaller.target).mean()
    assert surface[-1]["accuracy"] == pytest.approx(untouched, abs=1e-6)


def test_the_original_teaches_from_the_whole_input(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, ...]] = []
    taught = _training.taught
    monkeypatch.setattr(
        _training, "taught", lambda t, data: asked.append(data.inputs["image"].shape) or taught(t, data)
    )
    ShrinkInput(0.5, epochs=1)(task.original, task)
    assert asked == [(256, 3, 16, 16)]


def test_it_teaches_heads_behind_a_smaller_input_too(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """shrink_input > early_exit: heads see what is smaller, the original what it was trained on."""
    asked: list[tuple[int, ...]] = []
    taught = _exits.taught
    monkeypatch.setattr(_exits, "taught", lambda t, data: asked.append(data.inputs["image"].shape) or taught(t, data))
    made = ShrinkInput(0.5)(task.original, task)
    heads = _exits._task(made, task.seen_by(made), 1)
    assert asked == [(256, 3, 16, 16)]
    assert heads.split("train").inputs["image"].shape[2:] == (8, 8)


def test_grey_costs_nothing_where_there_is_no_colour(task: Task, tmp_path: Path) -> None:
    """The network with one channel answers to grey images as the old one does to them in three equal channels."""
    grey = Data({"image": np.repeat(PARTS[3].inputs["image"][..., :1], 3, -1)}, PARTS[3].target)
    plain = replace(task, test=grey)
    made = ShrinkInput(1.0, grey=True)(plain.original, plain)
    assert made.signature.inputs[0].shape == ("N", 1, 16, 16)
    wanted = call(plain.original.module, plain.split("test").inputs)["output"]
    came = call(made.module, plain.seen_by(made).split("test").inputs)["output"]
    np.testing.assert_allclose(came, wanted, atol=1e-3 * np.abs(wanted).max())
    again = checkpoint.load(checkpoint.save(made, tmp_path / "c"), plain)
    assert again.digest() == made.digest()
    with pytest.raises(InputError, match=r"no convolution 'first' of three channels"):
        checkpoint.load(tmp_path / "c", of(Net(1), PARTS, pipeline=Pipeline({"image": greyed(IMAGE)})))


def test_a_bias_that_was_there_stays() -> None:
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten())
    made = folded(net, "0", IMAGE, greyed(IMAGE))
    level = 77.0
    three = torch.tensor([(level - m) / s for m, s in zip(IMAGE.mean, IMAGE.std, strict=True)])[None, :, None, None]
    one = torch.full((1, 1, 1, 1), (level - 100.0) / 60.0)
    torch.testing.assert_close(made(one), net(three))


@pytest.mark.parametrize(
    ("step", "frames", "seconds", "fps"),
    [
        (ShrinkInput(1.0, fps=0.5), [1, 3, 5, 7], 1.0, 4.0),
        (ShrinkInput(1.0, seconds=0.5), [4, 5, 6, 7], 0.5, 8.0),
        (ShrinkInput(1.0, fps=0.5, seconds=0.5), [5, 7], 0.5, 4.0),
        (ShrinkInput(0.5, fps=0.3), [3, 7], 1.0, 2.0),
    ],
    ids=str,
)
def test_clips_have_fewer_frames(clips: Task, step: ShrinkInput, frames: list[int], seconds: float, fps: float) -> None:
    made = step(clips.original, clips)
    seen = clips.seen_by(made)
    assert made.signature.inputs[0].shape[1] == len(frames)
    assert seen.pipeline.window == Window(seconds, fps, 0.5)
    raw = seen.raw("test").inputs["image"]
    assert (raw[0, :, 0, 0, 0] // 10).tolist() == frames
    assert seen.split("test").inputs["image"].shape == (24, *made.signature.inputs[0].shape[1:])
    kinds = {(p["fps"], p["seconds"]) for p in made.edits[0]["surface"]}
    assert kinds >= {(1.0, 1.0), (0.5, 1.0), (1.0, 0.5)}


TASK = """
from test_shrink_input import PARTS, Net, Pipeline, Prepare, of

def build():
    import torch
    from safetensors.torch import load_file
    net = Net()
    net.load_state_dict(load_file({weights!r}))
    return net

task = of(None, PARTS, model=build)
"""


def test_what_is_shipped_prepares_what_was_trained(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is timed and scored on the smaller input; golden cases begin with raw images; verify finds no drift."""
    from safetensors.torch import save_file

    here = str(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", here)
    monkeypatch.syspath_prepend(here)
    monkeypatch.setattr(sys.modules["hasten.boost"], "page", lambda result: "")
    save_file(task.original.module.state_dict(), tmp_path / "w.safetensors")
    source = tmp_path / "task.py"
    source.write_text(TASK.format(weights=str(tmp_path / "w.safetensors")))
    recipe = "shrink_input(0.5, epochs=3, lr=0.005) > simplify"
    engine = OnnxRuntime(threads=1)
    trials = {r: Trial(r, str(engine)) for r in ("as it is", recipe)}
    with Workshop(Task.load(source), tmp_path / "t") as shop:
        shop.begin({}, resume=False)
        judge, found = Judge(shop, 0), {}
        bench = Bench(shop, judge, 0)
        bench._engines[str(engine)] = engine
        for name, judged in (("as it is", judge.original), (recipe, judge.score)):
            with bench.stand(trials[name]) as stand:
                assert len(stand.burst(1, 3)) >= 3, "it is timed on what it takes"
                found[name] = judged(stand, "validate", trials[name])["accuracy"]
        macs = [count(shop.load(name)).macs for name in trials]
        _ship(bench, trials[recipe], {"conditions": {}}, tmp_path / "out")
    assert found["as it is"] == pytest.approx(right(task, task.original), abs=0.05)
    assert found[recipe] > 0.9
    assert macs[1] < macs[0] / 3
    with Bundle.load(tmp_path / "out") as bundle:
        assert bundle.recipe == recipe
        assert bundle.pipeline.inputs["image"].size == (8, 8)
        case = bundle.golden.cases[0]
        raw, prepared = (np.load(bundle.folder / part["image"]) for part in (case.raw, case.prepared))
        assert (raw.shape, prepared.shape) == ((1, 16, 16, 3), (1, 3, 8, 8))
        answers = next(iter(bundle(PARTS[3].inputs).values()))
        assert (answers.argmax(1) == PARTS[3].target).mean() > 0.9
    verify = ["verify", str(tmp_path / "out"), "--task", str(source), "--json", str(tmp_path / "v")]
    assert main(verify) == 0
    other = "model=build, pipeline=Pipeline({'image': Prepare('image')})"
    source.write_text(source.read_text().replace("model=build", other))
    assert main(verify) == 1
    assert "mean" in json.loads((tmp_path / "v").read_text())["reason"]
    capsys.readouterr()


class Flat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3 * 16 * 16, 4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(image.flatten(1))


class Mask(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.one(image) + self.other(image)


ARRAYS = [Data({"image": p.inputs["image"].astype(np.float32).transpose(0, 3, 1, 2)}, p.target) for p in PARTS]
CASES: dict[str, tuple[ShrinkInput, Task, str]] = {
    "arrays": (ShrinkInput(), of(Net(), ARRAYS, pipeline=Pipeline()), "prepared already"),
    "pixels are built in": (ShrinkInput(), of(Flat(), PARTS), r"not take image float32 \[N, 3, 12, 12\]: .*shapes"),
    "answers depend on pixels": (ShrinkInput(), of(Mask(), PARTS, metric="mse"), r"output float32 \[N, 2, 12, 12\]"),
    "no clips": (ShrinkInput(fps=0.5), of(Net(), PARTS), "the pipeline has no window"),
    "no colour": (
        ShrinkInput(grey=True), of(Net(1), PARTS, pipeline=Pipeline({"image": greyed(IMAGE)})), "are grey already",
    ),
    "two readers": (ShrinkInput(grey=True), of(Mask(), PARTS, metric="mse"), "no convolution alone reads 'image'"),
    "nothing smaller": (ShrinkInput(0.99), of(Net(), PARTS), "leaves the input as it is"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_it_says_why_not(case: str) -> None:
    step, task, said = CASES[case]
    with pytest.raises(NotApplicable, match=rf"has nothing to do: .*{said}"):
        step(task.original, task)


def test_who_reads_the_input_is_seen() -> None:
    feed = {"image": np.zeros((2, 3, 16, 16), np.float32)}
    assert reader(Net(), feed, "image") == "first"
    assert reader(Mask(), feed, "image") is None
    assert reader(Flat(), feed, "image") is None


def test_it_is_compared_where_images_are_prepared(task: Task, clips: Task) -> None:
    assert [str(p) for p in ShrinkInput.presets(task, 3)] == [
        "shrink_input(side=0.85, epochs=3)", "shrink_input(side=0.7, epochs=3)",
    ]  # fmt: skip
    assert "fps=0.5" in str(ShrinkInput.presets(clips, 3)[1])
    assert ShrinkInput.presets(replace(task, pipeline=Pipeline()), 3) == ()


@pytest.mark.parametrize(
    "settings",
    [{"side": 0.0}, {"side": 1.1}, {"fps": 0.0}, {"seconds": 2.0}, {"epochs": -1}, {"lr": 0.0}, {"seed": -1}],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="cannot"):
        ShrinkInput(**settings)
