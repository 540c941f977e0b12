"""Trains the shapes net in a few minutes on one core, and writes shapes.safetensors beside it.

    python examples/shapes/train.py

First the encoder learns, frame by frame, where the ball and the line are, which the clips' maker knows; then the head
learns from the features of whole clips. Adam with cosine decay; `train.json` keeps every epoch.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from clips import TICKS, WIDTH, clip
from data import PIPELINE, SEEDS, WINDOW, crossed, crossings, paths, sampled
from net import ShapesNet
from safetensors.torch import save_file
from torch.nn import functional

from hasten.files import cache_folder

HERE = Path(__file__).parent
LENGTH = WINDOW.length
Clips = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def clips(part: str) -> Clips:
    """Of a part, sample by sample: prepared u8-like frames f32 [clips, T, 3, 54, 96]; where the ball and the line are
    f32 [clips, T, 3]; and for each window whether it tells of a crossing f32 [clips, W]. Kept in the cache."""
    kept = cache_folder() / "shapes" / f"{part}-{len(SEEDS[part])}.npz"
    if not kept.exists():
        how, frames, places, targets = PIPELINE.inputs["frames"], [], [], []
        for seed, path in zip(SEEDS[part], paths(SEEDS[part]), strict=True):
            times, shown, raw = sampled(path)
            frames.append(how(raw).astype(np.float16))
            places.append(_places(seed, shown))
            targets.append(crossed(times[LENGTH - 1 :], crossings(path)))
        short = min(map(len, frames))
        np.savez(kept, frames=[f[:short] for f in frames], places=[p[:short] for p in places],
                 targets=[t[: short - LENGTH + 1] for t in targets])  # fmt: skip
    with np.load(kept) as found:
        frames, places, targets = (torch.from_numpy(found[k]) for k in ("frames", "places", "targets"))
    return frames, places.float(), targets.float()


def _places(seed: int, shown: np.ndarray) -> np.ndarray:
    """Ball to line, ball and line along x, about -1..1, of the frames with these timestamps in ns: f64 [T, 3]."""
    made = clip(seed)
    ball = made.ball[np.searchsorted(made.ticks, np.round(shown * TICKS / 1e9).astype(np.int64))][:, 0]
    rows = (
        np.clip((ball - made.line) / 100, -1.5, 1.5),
        ball / WIDTH * 2 - 1,
        np.full(len(ball), made.line / WIDTH * 2 - 1),
    )
    return np.stack(rows, axis=1)


def descend(
    parameters: list[torch.nn.Parameter], lr: float, epochs: int, count: int, batch: int, seed: int,
    loss_of: Callable[[torch.Tensor], torch.Tensor], log: Callable[[int, float, float], None],
) -> None:  # fmt: skip
    """Adam over batches of rows [batch] of `count`, with warm-up and cosine decay."""
    optimizer = torch.optim.AdamW(parameters, lr, weight_decay=1e-3)
    generator = torch.Generator().manual_seed(seed)
    steps = epochs * math.ceil(count / batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min(1.0, (s + 1) / 20) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * s / steps)))
    )
    for epoch in range(epochs):
        began, lost = time.monotonic(), 0.0
        for pick in torch.randperm(count, generator=generator).split(batch):
            loss = loss_of(pick)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            lost += float(loss.detach()) * len(pick)
        log(epoch + 1, lost / count, time.monotonic() - began)


@torch.inference_mode()
def features(net: ShapesNet, frames: torch.Tensor) -> torch.Tensor:
    """Of every window: f32 [clips * W, 15, features]."""
    made = torch.stack([net.encoder(c.float()) for c in frames])
    return made.unfold(1, LENGTH, 1).transpose(2, 3).flatten(0, 1).clone()


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--epochs", type=int, default=4, help="of the encoder")
    ask.add_argument("--head-epochs", type=int, default=12)
    ask.add_argument("--batch", type=int, default=48)
    ask.add_argument("--lr", type=float, default=2e-3)
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("-o", "--output", type=Path, default=HERE / "shapes.safetensors")
    args = ask.parse_args()

    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    (x, places, y), (held_x, _, held_y) = clips("train"), clips("validate")
    net = ShapesNet().to(memory_format=torch.channels_last)
    rows: list[dict[str, float | str]] = []

    def log(part: str) -> Callable[[int, float, float], None]:
        def one(epoch: int, loss: float, seconds: float) -> None:
            rows.append({"part": part, "epoch": epoch, "loss": round(loss, 5), "seconds": round(seconds, 1)})
            print(json.dumps(rows[-1]), flush=True)

        return one

    aside = torch.nn.Linear(48, 3)  # reads the places off the features, and is thrown away
    flat, where = x.flatten(0, 1), places.flatten(0, 1)

    def seen(pick: torch.Tensor) -> torch.Tensor:
        return functional.smooth_l1_loss(aside(net.encoder(flat[pick].float())), where[pick], beta=0.1)

    parameters = [*net.encoder.parameters(), *aside.parameters()]
    descend(parameters, args.lr, args.epochs, len(flat), args.batch, args.seed, seen, log("encoder"))
    net.eval()
    windows, told = features(net, x), y.reshape(-1, 1)

    def judged(pick: torch.Tensor) -> torch.Tensor:
        return functional.binary_cross_entropy_with_logits(net.head(windows[pick]), told[pick])

    descend([*net.head.parameters()], args.lr, args.head_epochs, len(windows), 64, args.seed + 1, judged, log("head"))
    with torch.inference_mode():
        right = (net.head(features(net, held_x)) > 0) == (held_y.reshape(-1, 1) > 0.5)
    rows.append({"part": "validate", "windows": len(right), "accuracy": round(100 * float(right.float().mean()), 2)})
    print(json.dumps(rows[-1]))
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, args.output)
    settings = {k: v for k, v in vars(args).items() if k != "output"}
    args.output.with_name("train.json").write_text(json.dumps({"settings": settings, "log": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
