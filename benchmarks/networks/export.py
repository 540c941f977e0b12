"""From a trained module to the four files of a network, with torch's own exporter alone."""

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

Arrays = Mapping[str, np.ndarray]


def export(module: torch.nn.Module, example: Arrays, path: Path, output: str = "logits") -> None:
    """Write `module` as ONNX, axis 0 of every input free, weights inside.

    Args:
        example: input name -> array [N, ...], in the order of forward's arguments.
    """
    inputs = tuple(torch.from_numpy(np.ascontiguousarray(a[:2])) for a in example.values())
    batch = torch.export.Dim("batch")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it reports every package that is absent
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's notes on its own deprecations
        torch.onnx.export(
            module.eval(),
            inputs,
            str(path),
            input_names=list(example),
            output_names=[output],
            dynamo=True,
            dynamic_shapes=tuple({0: batch} for _ in inputs),
            external_data=False,
            verbose=False,
        )


def save(folder: Path, **parts: Arrays) -> None:
    """Write each part as an .npz."""
    for name, arrays in parts.items():
        np.savez(folder / f"{name}.npz", **arrays)


def keep(module: torch.nn.Module, path: Path) -> None:
    """Store a checkpoint in half precision: the rounded weights are the network."""
    state = {k: v.half() if v.is_floating_point() else v for k, v in module.state_dict().items()}
    save_file({k: v.contiguous() for k, v in state.items()}, path)


def recall(module: torch.nn.Module, path: Path) -> torch.nn.Module:
    """The module with the weights of a stored checkpoint, as float32."""
    state = {k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()}
    module.load_state_dict(state)
    return module.eval()


def train(module: torch.nn.Module, batches, epochs: int, rate: float) -> None:
    """Adam with a one-cycle rate, bf16 autocast; `batches()` yields (inputs tuple, labels) afresh every epoch."""
    steps = epochs * sum(1 for _ in batches())
    optimizer = torch.optim.AdamW(module.parameters(), rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    module.train()
    for epoch in range(epochs):
        lost, count = 0.0, 0
        for inputs, labels in batches():
            with torch.autocast("cpu", torch.bfloat16):
                loss = torch.nn.functional.cross_entropy(module(*inputs).float(), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            lost, count = lost + float(loss.detach()) * len(labels), count + len(labels)
        print(f"epoch {epoch + 1}: loss {lost / count:.4f}", flush=True)
    module.eval()


@torch.inference_mode()
def accuracy(module: torch.nn.Module, arrays: Arrays) -> float:
    """Share of right answers, in percent."""
    names = [k for k in arrays if k != "target"]
    answers = [
        module(*(torch.from_numpy(arrays[k][i : i + 250]) for k in names)).argmax(1).numpy()
        for i in range(0, len(arrays["target"]), 250)
    ]
    return 100 * float((np.concatenate(answers) == arrays["target"]).mean())
