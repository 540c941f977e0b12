"""Parity: does the C++ runner do what Python does? Golden cases, then random inputs, stage by stage."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hasten import cpp
from hasten.bundle import Bundle
from hasten.model import Arrays

SAMPLES = 32


def parity(bundle: Bundle, seed: int = 0) -> str:
    """The first stage at which the C++ runner differs from Python, in one sentence; empty where none does.

    Golden cases are replayed by the C++ runner itself. Random inputs go through both: prepared tensors have to be equal
    to the byte, outputs within the bundle's tolerance, decisions equal wherever they are clear.

    Raises:
        MissingError: the runner cannot be built, or lacks what the bundle needs.
    """
    replayed = cpp.call(bundle.folder, "--verify")
    if replayed.returncode:
        return "C++: " + replayed.stderr.strip().removeprefix("hasten-run: ")
    raw = random_inputs(bundle, seed)
    prepared = bundle.pipeline.prepared(raw)
    outputs = bundle.run(raw)
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"input{i}.npy" for i, name in enumerate(raw)}
        for name, file in files.items():
            np.save(file, raw[name])
        word = ",".join(f"{name}={file}" for name, file in files.items())
        made, found = Path(folder) / "prepared", Path(folder) / "outputs"
        made.mkdir()
        found.mkdir()
        cpp.answers(bundle.folder, word, "--prepared", made)
        for i, tensor in enumerate(bundle.signature.inputs):
            if said := _prepared(tensor.name, prepared[tensor.name], np.load(made / f"{i}.npy")):
                return said
        told = cpp.answers(bundle.folder, word, "--outputs", found)
        native = {name: np.load(found / f"{i}.npy") for i, name in enumerate(outputs)}
        steady = bundle.flow.further(prepared, bundle.golden.tolerance)[1]  # the others may take another way
    outputs, native = ({name: a[steady] for name, a in side.items()} for side in (outputs, native))
    told = [line for line, one in zip(told, steady, strict=True) if one]
    return _outputs(bundle, outputs, native) or _decisions(bundle, outputs, [line["decision"] for line in told])


def random_inputs(bundle: Bundle, seed: int) -> dict[str, np.ndarray]:
    """Raw inputs of the shapes of the first golden case, [SAMPLES, ...]: bytes of images, else values like its own."""
    rng = np.random.default_rng(seed)
    count = -(-SAMPLES // bundle.signature.fixed_batch) * bundle.signature.fixed_batch
    made: dict[str, np.ndarray] = {}
    for name, like in bundle.golden.raw(bundle.folder).items():
        shape = (count, *like.shape[1:])
        how = bundle.pipeline.inputs.get(name)
        if how is not None and how.kind == "image":
            made[name] = rng.integers(0, 256, shape, np.uint8)
        elif like.dtype.kind == "f":
            made[name] = rng.normal(like.mean(), like.std() + 1e-3, shape).astype(like.dtype)
        else:  # they may be indices: those that there are
            made[name] = rng.choice(like.reshape(-1), shape)
    return made


def _prepared(name: str, python: np.ndarray, native: np.ndarray) -> str:
    if python.dtype != native.dtype or python.shape != native.shape or python.tobytes() != native.tobytes():
        return f"random inputs: the prepared tensor {name!r} is not the same in C++ and Python"
    return ""


def _outputs(bundle: Bundle, python: Arrays, native: Mapping[str, np.ndarray]) -> str:
    for name, array in python.items():
        worst = float(np.abs(array.astype(np.float64) - native[name].astype(np.float64)).max(initial=0.0))
        if native[name].shape != array.shape or not worst <= bundle.golden.tolerance[name]:
            allowed = bundle.golden.tolerance[name]
            return f"random inputs: output {name!r} differs by {worst:.3g} in C++, {allowed:.3g} is allowed"
    return ""


def _decisions(bundle: Bundle, outputs: Arrays, native: list[object]) -> str:
    for i, (mine, other) in enumerate(zip(bundle.pipeline.decide(outputs), native, strict=True)):
        one = {name: array[i : i + 1] for name, array in outputs.items()}
        margin = bundle.pipeline.answer.margin(one, bundle.golden.tolerance)
        if mine != other and (margin is None or margin > 2):
            return f"random inputs: the decision is {str(other)[:80]} in C++ and {str(mine)[:80]} in Python"
    return ""
