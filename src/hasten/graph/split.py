"""split: a clip network is cut into a stage for each frame and one for each window, so that a frame is encoded once."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hasten.data import Data
from hasten.engine import Engine
from hasten.errors import HastenError, NotApplicable
from hasten.flow import answer
from hasten.golden import SHARES
from hasten.graph._clip import Cut, cut
from hasten.model import Model, OnnxModel
from hasten.pipeline import Pipeline
from hasten.stage import Stage
from hasten.technique import Technique

if TYPE_CHECKING:
    from hasten.task import Task

FRAME, WINDOW = "frame", "window"  # names of the stages
_PROOF_CLIPS = 16


@dataclass(frozen=True)
class Split(Technique):
    """It is seen whether the network can be cut, and proven on data that both parts together answer as the whole.

    The graph stays one file, which answers for a window as before. The bundle of a task with a time window is cut where
    this finds that it can be, at the deepest tensors that mix no time: a live runner then encodes each sampled frame
    once and keeps its features, where the whole network would encode it again for every window that it is in. Where
    other graph passes stand before it, what they made is cut.
    """

    def apply(self, model: Model, task: "Task") -> OnnxModel:
        """
        Raises:
            NotApplicable: the pipeline has no time window; or time is mixed before anything heavy is done, and where.
        """
        assert isinstance(model, OnnxModel)
        halves(model, task.pipeline, task.sample())
        made = type(model.proto)()
        made.CopyFrom(model.proto)
        return OnnxModel(made)


def halves(model: OnnxModel, pipeline: Pipeline, data: Data) -> Cut:
    """The network in two, proven on the data to answer as the whole.

    Args:
        data: prepared clips.

    Raises:
        NotApplicable: it has no window, mixes time too early, or the parts answer otherwise; says where or by how much.
    """
    clip = clip_of(model, pipeline)
    assert pipeline.window is not None
    few = data.take(slice(0, _PROOF_CLIPS))
    made = cut(model, clip, pipeline.window.length, few.inputs[clip])
    if fault := difference(model, made, clip, few):
        raise NotApplicable(f"split is not equal to the whole: {fault}", "run it whole")
    return made


def clip_of(model: OnnxModel, pipeline: Pipeline) -> str:
    """The input that has the frames of a window.

    Raises:
        NotApplicable: the pipeline has no window, or not one input has its frames.
    """
    window = pipeline.window
    if window is None:
        raise NotApplicable("split has nothing to do: the task's pipeline has no time window")
    clips = [t.name for t in model.signature.inputs if t.shape[1:2] == (window.length,)]
    images = [name for name in clips if name in pipeline.inputs and pipeline.inputs[name].kind == "image"] or clips
    if len(images) != 1:
        raise NotApplicable(
            f"split cuts along one input [N, {window.length}, ...], and there are {len(images)}",
            "export the network with as many frames as the window has",
        )
    return images[0]


def difference(model: OnnxModel, parts: Cut, clip: str, data: Data) -> str:
    """Where the two together answer otherwise than the whole, in f32 on ONNX Runtime; empty where they do not."""
    from hasten.engines.onnxruntime import OnnxRuntime

    engine = OnnxRuntime(threads=1)
    feed = {t.name: np.ascontiguousarray(data.inputs[t.name]) for t in model.signature.inputs}
    try:
        with (
            engine.compile(parts.frame) as frame,
            engine.compile(parts.window) as window,
            engine.compile(model) as whole,
        ):
            expected = answer(whole, feed)
            samples, frames = feed[clip].shape[:2]
            made = answer(frame, {clip: feed[clip].reshape(-1, *feed[clip].shape[2:])})
            features = {name: a.reshape(samples, frames, *a.shape[1:]) for name, a in made.items()}
            wanted = {t.name for t in parts.window.signature.inputs}
            got = answer(window, {n: a for n, a in (feed | features).items() if n in wanted})
    except HastenError as fault:
        return fault.what
    share = SHARES["i8" if model.quantized else "f32"]
    for name, whole_answer in expected.items():
        apart = np.abs(got[name].astype(np.float64) - whole_answer.astype(np.float64)).max(initial=0.0)
        allowed = share * float(np.abs(whole_answer).max(initial=0.0)) if whole_answer.dtype.kind == "f" else 0.0
        if not apart <= allowed:
            return f"output {name!r} differs by {apart:.3g}, {allowed:.3g} is allowed"
    return ""


def stages(model: OnnxModel, pipeline: Pipeline, data: Data, engine: Engine, folder: Path) -> list[Stage]:
    """The stages of a bundle: two, whose files are put into `folder`, where the network can be split; else the one."""
    assert model.path is not None
    try:
        parts = halves(model, pipeline, data)
    except NotApplicable:
        return [Stage.of(model.path, engine)]
    return [
        Stage(FRAME, folder / "frame.onnx", engine, parts.frame.save(folder / "frame.onnx").signature, "frame"),
        Stage(WINDOW, folder / "window.onnx", engine, parts.window.save(folder / "window.onnx").signature, "window"),
    ]
