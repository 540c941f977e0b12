"""Clips in which a ball crosses a line or does not, and a network that watches them, trained by the train.py beside it.

    hasten boost examples/shapes/task.py -o out/shapes --max-drop 0.02
    python examples/shapes/clips.py out/clips && hasten watch out/shapes out/clips/*.mp4

The bundle has a stage for frames and one for windows, so that `hasten watch` encodes each sampled frame once.
"""

from pathlib import Path

import numpy as np
from data import PIPELINE, SEEDS, WINDOW, crossed, crossings, paths, sampled
from net import ShapesNet
from score import event_f1

from hasten import Data, Task

EVERY = 3  # samples from one window of the data to the next


def windows(part: str, count: int | None = None) -> Data:
    """Windows of a part's clips: raw frames uint8 [N, 15, 540, 640], which overlap in memory, target f64 [N, 4] as in
    score.COLUMNS, and the clip as the group. Windows that reach from one clip into the next are of clip -1."""
    found = [(sampled(path), crossings(path)) for path in paths(SEEDS[part][:count])]
    length = min(len(times) for (times, _, _), _ in found) // EVERY * EVERY
    frames = np.concatenate([raw[:length] for (_, _, raw), _ in found])
    starts = np.arange(0, len(frames) - WINDOW.length + 1, EVERY)
    last = starts + WINDOW.length - 1
    clip = np.where(starts // length == last // length, starts // length, -1)
    ends = np.concatenate([times[:length] for (times, _, _), _ in found])[last]
    target = np.stack([clip, ends, np.full(len(ends), -1.0), np.zeros(len(ends))], axis=1)
    for number, (_, true) in enumerate(found):
        own = np.flatnonzero(clip == number)
        target[own, 3] = crossed(ends[own], true)
        for crossing in true:
            target[own[np.searchsorted(ends[own], crossing)], 2] = crossing
    step = frames.strides
    raw = np.lib.stride_tricks.as_strided(
        frames, (len(starts), WINDOW.length, *frames.shape[1:]), (EVERY * step[0], *step), writeable=False
    )
    return Data({"frames": raw}, target, last // length)


def trained() -> ShapesNet:
    from safetensors.torch import load_file

    net = ShapesNet()
    net.load_state_dict(load_file(Path(__file__).with_name("shapes.safetensors")))
    return net


def loss(outputs, target):
    """Cross-entropy of the logits f32 [N, 1] of windows that are of one clip."""
    from torch.nn import functional

    own = target[:, 0] >= 0
    return functional.binary_cross_entropy_with_logits(next(iter(outputs.values()))[own, 0], target[own, 3].float())


task = Task(
    "shapes",
    trained,
    metric=event_f1(PIPELINE.answer),
    train=lambda: windows("train", 8),
    calibrate=lambda: windows("train", 4),
    validate=lambda: windows("validate"),
    test=lambda: windows("test"),
    loss=loss,
    pipeline=PIPELINE,
)
