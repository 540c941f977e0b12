"""A board: what its TensorRT reads, and the folder that it gets."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from hasten import files
from hasten.boards import _calibration
from hasten.boards._opset import largest_difference, lowered, with_batch
from hasten.boards._script import BUILD, README, VERIFY
from hasten.data import Data
from hasten.engine import available
from hasten.errors import InputError
from hasten.graph.lint import lint
from hasten.model import Arrays, OnnxModel

CASES = 8
CAVEAT = "not verified on hardware"


@dataclass(frozen=True)
class Board:
    """One kind of board, of which nothing here has been run: *not verified on hardware*.

    Attributes:
        title: as it is sold.
        reads: its software and TensorRT, as people call them.
        tensorrt: as the first line of a calibration cache has it, until the board's own script asks.
        opset, ir_version: the newest that its parser reads.
        dla: cores, of which each gets a build of its own.
        floats, int8: options of trtexec for the GPU, for the file in floats and for that with Q and DQ.
    """

    title: ClassVar[str]
    reads: ClassVar[str]
    tensorrt: ClassVar[str]
    opset: ClassVar[int]
    ir_version: ClassVar[int]
    dla: ClassVar[int]
    caveat: ClassVar[str] = CAVEAT
    floats: ClassVar[str]
    int8: ClassVar[str]

    batch: int = 1  # samples a call

    def write(self, model: OnnxModel, data: Data, folder: Path) -> dict[str, Any]:
        """The folder, whole or not at all.

        Args:
            model: in floats, or with Q and DQ that `quantize(method=placed, engine=tensorrt)` has written.
            data: samples: on the first eight calls the board has to answer as here.

        Returns:
            What was written, for `board.json`.

        Raises:
            InputError: Q and DQ that TensorRT refuses, a free axis beside the batch, an operator without an older form.
        """
        if bad := next((f for f in lint(model) if f.seen != "accepted"), None):
            raise InputError(f"{bad.node} ({bad.module}): {bad.what}", bad.mend)
        few = data.take(slice(0, CASES * self.batch))
        fixed = lowered(OnnxModel(with_batch(model.proto, self.batch)), self.opset, self.ir_version, few)
        written: dict[str, bytes | str | Callable[[Path], object]] = {}
        engines: dict[str, str] = {}
        about: dict[str, Any] = {"board": self.title, "software": self.reads, "caveat": CAVEAT, "opset": self.opset}
        plain = OnnxModel(fixed.proto)
        if fixed.quantized:
            bare = _calibration.unquantized(fixed)
            scales, measured = _calibration.every_scale(bare, few)
            plain = bare.model
            written["model-int8.onnx"] = fixed.proto.SerializeToString()
            written["calibration.cache"] = _calibration.cache(scales, self.tensorrt)
            engines["gpu-int8"] = f"model-int8.onnx {self.int8}"
            about |= {"scales": len(scales), "scales_measured_here": measured}
            about["int8_differs_by"] = largest_difference(plain, fixed, few)
        written["model.onnx"] = plain.proto.SerializeToString()
        engines["gpu-fp16"] = f"model.onnx {self.floats}"
        for core in range(self.dla):
            engines |= {f"dla{core}-{name}": line for name, line in self.on_dla(core, fixed.quantized).items()}
        about["engines"] = engines
        cases, golden = _cases(fixed, few)
        about |= cases
        written |= golden
        written["build.sh"] = BUILD.replace("@LINES@", _lines(engines)).replace("@TITLE@", self.title)
        written["verify.py"] = VERIFY
        written["README.txt"] = README.format(title=self.title, reads=self.reads, caveat=CAVEAT, opset=self.opset)
        written["board.json"] = json.dumps(about, indent=1) + "\n"
        _write(folder, written)
        return about

    def on_dla(self, core: int, quantized: bool) -> dict[str, str]:
        """Engines of one DLA, by name: file and options."""
        where = f"--useDLACore={core} --allowGPUFallback"
        found = {"fp16": f"model.onnx --fp16 {where}"}
        if quantized:
            found["int8"] = f"model.onnx --int8 --fp16 --calib=calibration.cache {where}"
        return found


def _lines(engines: dict[str, str]) -> str:
    """One line of the script for each engine."""
    return "\n".join(f"build {name} {line}" for name, line in engines.items())


def _cases(model: OnnxModel, few: Data) -> tuple[dict[str, Any], dict[str, Callable[[Path], object]]]:
    """How the board's script finds them, and the files: golden inputs, and outputs as ONNX Runtime answers."""
    engine, size = available("onnx")[0], model.signature.fixed_batch
    written = {}
    names = {t.name: f"{i}" for i, t in enumerate((*model.signature.inputs, *model.signature.outputs))}
    count = 0
    with engine.compile(model) as session:
        for feed in few.batches(size):
            feed = {k: np.resize(v, (size, *v.shape[1:])) for k, v in feed.items()}
            arrays: Arrays = {t.name: feed[t.name] for t in model.signature.inputs} | session(feed)
            for name, array in arrays.items():
                written[f"golden/{count:02d}-{names[name]}.npy"] = _saver(array)
            count += 1
    sides = {side: {t.name: names[t.name] for t in getattr(model.signature, side)} for side in ("inputs", "outputs")}
    return {"cases": count, **sides}, written


def _saver(array: np.ndarray) -> Callable[[Path], object]:
    def save(path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, np.ascontiguousarray(array), allow_pickle=False)

    return save


def _write(folder: Path, written: dict[str, Any]) -> None:
    made = folder.with_name(f".{folder.name}.made")
    shutil.rmtree(made, ignore_errors=True)  # what a killed one left
    for name, content in written.items():
        files.write(made / name, content)
    (made / "build.sh").chmod(0o755)
    files.replace_folder(made, folder)
