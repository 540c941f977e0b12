"""Trains a network of the zoo from the start, with the loop that heals.

    python examples/zoo/train.py plain

A minute to eight on two cores; goes on by itself when it was interrupted.
"""

import argparse
from dataclasses import replace
from importlib import import_module

import torch
from common import checkpoint
from safetensors.torch import save_file

from hasten.compress.heal import Heal
from hasten.engines.torch import call
from hasten.model import TorchModel

NETWORKS = ("plain", "residual", "mobile", "transformer", "recurrent", "tones")


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("network", choices=NETWORKS)
    ask.add_argument("--epochs", type=int, default=8)
    ask.add_argument("--lr", type=float, default=3e-3)
    args = ask.parse_args()

    module = import_module(args.network)
    torch.manual_seed(0)
    fresh = replace(module.task, model=getattr(module, args.network.capitalize()))
    net = fresh.original
    assert isinstance(net, TorchModel)
    made = Heal(args.epochs, args.lr, teacher=0.0).train(net, fresh)
    save_file({name: value.contiguous() for name, value in made.module.state_dict().items()}, checkpoint(args.network))
    data = fresh.split("test")
    right = fresh.measure.rows(call(made.module, data.inputs), data.target)
    print(f"{args.network}: {made.params} parameters, {right.mean():.4f} of the test data right")


if __name__ == "__main__":
    main()
