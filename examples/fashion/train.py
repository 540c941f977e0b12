"""Trains the fashion net to the end on 50,000 images; 10,000 more validate it. About an hour on two cores.

    python examples/fashion/train.py            resumes by itself when it was interrupted

SGD with Nesterov momentum, one warm-up epoch, cosine decay, mirrored and shifted images, label smoothing, bf16
autocast, and an exponential moving average of the weights, which is what is saved. Then five further epochs at the
final rate show that nothing is left to gain; `train.json` keeps every epoch.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from data import PIPELINE, read
from net import FashionNet
from safetensors.torch import save_file
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

HERE = Path(__file__).parent
VALIDATE = 10_000  # the last images of the training set


def prepared(images: np.ndarray) -> torch.Tensor:
    """Images uint8 [N, 28, 28] through the task's own pipeline: f32 [N, 1, 28, 28]."""
    return torch.from_numpy(PIPELINE.prepared({"image": images})["image"])


def augment(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mirror half of a batch f32 [N, 1, 28, 28] and shift each image by up to two pixels."""
    n = len(x)
    mirrored = torch.where(torch.rand(n, 1, 1, 1, generator=generator) < 0.5, x.flip(3), x)
    padded = functional.pad(mirrored, (2, 2, 2, 2), value=float(x.min()))
    shift = torch.randint(0, 5, (2, n, 1), generator=generator)
    rows, columns = shift[0] + torch.arange(28), shift[1] + torch.arange(28)
    return padded[torch.arange(n)[:, None, None], 0, rows[:, :, None], columns[:, None, :]][:, None]


@torch.inference_mode()
def accuracy(net: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    """Share of right answers, in percent, computed in float32."""
    net.eval()
    right = sum(int((net(a).argmax(1) == b).sum()) for a, b in zip(x.split(500), y.split(500), strict=True))
    return 100 * right / len(y)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--epochs", type=int, default=16)
    ask.add_argument("--further", type=int, default=5)
    ask.add_argument("--batch", type=int, default=128)
    ask.add_argument("--lr", type=float, default=0.15)
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("-o", "--output", type=Path, default=HERE / "fashion.safetensors")
    args = ask.parse_args()

    torch.manual_seed(args.seed)
    images, labels = read("train")
    x, y = prepared(images), torch.from_numpy(labels)
    (x, held_x), (y, held_y) = ((t[:-VALIDATE], t[-VALIDATE:]) for t in (x, y))
    net = FashionNet().to(memory_format=torch.channels_last)
    mean = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.998), use_buffers=True)
    optimizer = torch.optim.SGD(net.parameters(), args.lr, momentum=0.9, weight_decay=5e-4, nesterov=True)
    steps = math.ceil(len(x) / args.batch)
    total = args.epochs * steps

    def rate(step: int) -> float:
        warm = min(1.0, (step + 1) / steps)
        return warm * (0.002 + 0.998 * 0.5 * (1 + math.cos(math.pi * min(step, total) / total)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    parts = {"net": net, "mean": mean, "optimizer": optimizer, "schedule": schedule}
    log: list[dict[str, float]] = []
    state = args.output.with_suffix(".state.pt")
    if state.exists():
        saved = torch.load(state, weights_only=True)
        log = saved.pop("log")
        for name, part in parts.items():
            part.load_state_dict(saved[name])

    for epoch in range(len(log), args.epochs + args.further):
        generator = torch.Generator().manual_seed(args.seed * 1000 + epoch)
        began, lost = time.monotonic(), 0.0
        net.train()
        for pick in torch.randperm(len(x), generator=generator).split(args.batch):
            batch = augment(x[pick], generator).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                loss = functional.cross_entropy(net(batch).float(), y[pick], label_smoothing=0.1)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            mean.update_parameters(net)
            lost += float(loss.detach()) * len(pick)
        log.append(
            {
                "epoch": epoch + 1,
                "loss": round(lost / len(x), 4),
                "validate": accuracy(mean, held_x, held_y),
                "seconds": round(time.monotonic() - began),
            }
        )
        print(json.dumps(log[-1]), flush=True)
        torch.save({"log": log} | {name: part.state_dict() for name, part in parts.items()}, f"{state}.aside")
        Path(f"{state}.aside").replace(state)
        if epoch + 1 == args.epochs:
            save_file({k: v.contiguous() for k, v in mean.module.state_dict().items()}, args.output)

    images, labels = read("t10k")
    from safetensors.torch import load_file

    net.load_state_dict(load_file(args.output))
    reached = [entry["validate"] for entry in log]
    gain = max(reached[args.epochs :]) - reached[args.epochs - 1] if args.further else 0
    result = {
        "settings": {k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items() if k != "output"},
        "test_accuracy": accuracy(net, prepared(images), torch.from_numpy(labels)),
        "gain_of_further_epochs": round(gain, 3),
        "epochs": log,
    }
    args.output.with_name("train.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({k: result[k] for k in ("test_accuracy", "gain_of_further_epochs")}))


if __name__ == "__main__":
    main()
