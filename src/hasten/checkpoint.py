"""A compressed torch model on disk: plan.json, what was done to the network, and safetensors; no pickle, no code."""

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from hasten import files, find
from hasten.errors import InputError
from hasten.model import TorchModel

if TYPE_CHECKING:
    import torch

    from hasten.task import Task

PLAN, WEIGHTS, FORMAT = "plan.json", "weights.safetensors", 1


def save(model: TorchModel, folder: str | Path, beside: Mapping[str, str] | None = None) -> Path:
    """Write both files, whole or not at all.

    Args:
        beside: further files of text, by name.

    Raises:
        InputError: the disk refuses.
    """
    from safetensors.torch import save as packed

    folder = Path(folder).absolute()
    state = {name: value.detach().cpu().contiguous().clone() for name, value in model.module.state_dict().items()}
    with (
        files.writing(folder),
        TemporaryDirectory(prefix=f".{folder.name}.", dir=files.make_folder(folder.parent)) as aside,
    ):
        made = Path(aside) / "checkpoint"
        files.write(made / WEIGHTS, packed(state))
        plan = {
            "format": FORMAT,
            "history": model.history,
            "edits": model.edits,
            "weights": files.sha256(made / WEIGHTS),
        }
        for name, text in (beside or {}).items():
            files.write(made / name, text)
        files.write(made / PLAN, json.dumps(plan, indent=1))
        files.replace_folder(made, folder)
    return folder


def load(folder: str | Path, task: "Task") -> TorchModel:
    """The model again: the task builds the network, the edits are replayed on it, and the weights are put in.

    Raises:
        InputError: a file is missing or damaged, or the plan does not fit the task's network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as unpacked

    folder, original = Path(folder), task.original
    if not isinstance(original, TorchModel):
        raise InputError("the task's model is an ONNX file", "give the task whose network was compressed")
    try:
        plan = json.loads((folder / PLAN).read_text())
        state = unpacked((folder / WEIGHTS).read_bytes())
        number, history, edits = plan["format"], tuple(map(str, plan["history"])), tuple(plan["edits"])
        whole = plan["weights"] == files.sha256(folder / WEIGHTS)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as fault:
        raise InputError(f"{folder} is not a checkpoint ({type(fault).__name__}: {fault})", "write it again") from fault
    if number != FORMAT:
        raise InputError(f"{folder} has the format {number}, this hasten reads {FORMAT}", "use a newer hasten")
    if not whole:
        raise InputError(f"{folder / WEIGHTS} is not the file that the plan was written for", "write both again")
    module = original.module
    for edit in edits:
        if not isinstance(edit, dict) or "technique" not in edit:
            raise InputError(f"{folder / PLAN} has an edit without a technique", "write it again")
        try:
            module = find.technique(str(edit["technique"])).replay(module, edit, task)
        except (KeyError, TypeError, AttributeError) as fault:
            raise InputError(f"{folder / PLAN}: {edit['technique']} lacks {fault}", "write it again") from fault
    filled = _filled(module, state, folder)
    seen = task.seen_by(TorchModel(filled, original.signature, history))
    made = TorchModel.of(filled, seen.sample().take(slice(0, 1)).inputs)
    return TorchModel(filled, made.signature, history, edits)


def _filled(module: "torch.nn.Module", state: Mapping[str, Any], folder: Path) -> "torch.nn.Module":
    """A copy with these weights, of whatever shape they are."""
    import copy

    import torch

    made = copy.deepcopy(module)
    expected = made.state_dict()
    if odd := sorted(expected.keys() ^ state.keys()):
        raise InputError(f"{folder} and the network differ in {odd[0]!r}", "build the network that was compressed")
    for name in expected:
        value = state[name]
        owner, _, leaf = name.rpartition(".")
        place = made.get_submodule(owner)
        if leaf in place._parameters:
            place._parameters[leaf] = torch.nn.Parameter(value)
        else:
            place._buffers[leaf] = value
        if leaf == "weight" and tuple(value.shape[:2]) != _size(place, tuple(value.shape[:2])):
            raise InputError(f"{folder}: {name!r} has another size than its layer", "write the checkpoint again")
    return made.eval()


def _size(layer: Any, otherwise: tuple[int, ...]) -> tuple[int, ...]:
    """The first two lengths of its weight, by what the layer says of itself."""
    import torch

    if isinstance(layer, torch.nn.modules.conv._ConvNd):
        ends = (layer.out_channels, layer.in_channels)
        first, second = ends[::-1] if layer.transposed else ends
        return first, second // layer.groups
    if isinstance(layer, torch.nn.Linear):
        return layer.out_features, layer.in_features
    if isinstance(layer, torch.nn.modules.batchnorm._NormBase):
        return (layer.num_features,)
    return otherwise
