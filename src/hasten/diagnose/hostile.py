"""The gate that every file which is a model passes before any engine of this process's own sees it.

    size caps -> the file's envelope                         here, without parsing
    parse -> onnx.checker -> lint and weights -> ONNX Runtime builds it -> runs it once    in a child with limits

Engines hang, crash and fill the memory on hostile graphs, OpenVINO most easily: it takes cyclic graphs and unknown
opsets without a word. So everything that interprets the file happens first in a child process that can be ended. What
builds but explodes when it runs (a loop whose count is computed) shows only then: hence the last step, on zeros, with
every free axis 1. An error there is not held against a model, since zeros may be nonsense to it; time and memory are.
"""

import os
import stat
import time
from pathlib import Path
from typing import IO, Any

import numpy as np

from hasten.child import Child, ChildDied
from hasten.diagnose import lint, weights
from hasten.errors import InputError, MissingError
from hasten.model import OnnxModel

MAX_MB = (
    2000  # of file and external data together: one protobuf message, which is how models travel here, ends at 2 GiB
)
MEMORY_PER_MB = (
    4  # parser, checker and engine each hold the weights once, ONNX Runtime a second time while it packs them
)
MB_PER_S = 50  # what the gate reads and checks at the least; large files get their time on top
MAX_FIELDS = 100_000  # of the outermost message: the graph is one, each function and each metadata entry another

STAGES = {  # methods of Examiner in order, and what they do, as it reads in a sentence
    "read": "parsing it",
    "check": "checking its graph",
    "build": "building it in ONNX Runtime",
    "run": "running it in ONNX Runtime on one sample of zeros",
}
UNRUN = ("read", "check")  # of these, what no engine takes part in

# field number of ModelProto -> wire type (onnx.proto, https://protobuf.dev/programming-guides/encoding)
_VARINT, _BYTES = 0, 2
_FIELDS = {1: _VARINT, 5: _VARINT} | dict.fromkeys((2, 3, 4, 6, 7, 8, 14, 20, 25, 26), _BYTES)
_GRAPH = 7
_OTHERS = {
    b"PK\x03\x04": "a zip archive, as PyTorch's checkpoints are",
    b"\x89HDF": "an HDF5 file, as Keras writes",
    b"\xff\xd8\xff": "a JPEG image",
    b"\x89PNG": "a PNG image",
    b"\x1f\x8b": "a gzip archive",
    b"\x80\x02": "a pickle",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
    b"\x93NUM": "a numpy array",
    b"<?xml": "XML, as OpenVINO writes",
}


def admit(path: str | Path, *, timeout_s: float = 30.0, memory_mb: int = 2000, runs: bool = True) -> OnnxModel:
    """Examine a file and read it. Not needed for what this process has exported itself.

    Args:
        path: the .onnx file; external data is looked for in its folder.
        timeout_s: for everything together; 1 s more for every 50 MB.
        memory_mb: resident memory of the child that examines it; 4 MB more for every MB of weights.
        runs: whether ONNX Runtime has to build and run it. Without that, no engine may see it but in a child process
            with limits of its own.

    Returns:
        The model, external data taken in.

    Raises:
        InputError: it is not an ONNX file, or not one that may be handed to an engine: one sentence with the mend.
        MissingError: ONNX Runtime is not installed, so the file cannot be tried before other engines see it.
    """
    path = Path(path)
    try:
        size_mb = _envelope(path)
        ends = time.monotonic() + timeout_s + size_mb / MB_PER_S
        with Child("hasten.diagnose.hostile:Examiner", memory_mb=int(memory_mb + MEMORY_PER_MB * size_mb)) as child:
            for stage in STAGES if runs else UNRUN:
                answer = _call(child, stage, ends - time.monotonic(), path.absolute())
                if stage == "read":  # now the size of the external data is known
                    ends += answer / MB_PER_S
                    child.memory_mb = int(memory_mb + MEMORY_PER_MB * (size_mb + answer))
    except (InputError, MissingError) as fault:
        raise type(fault)(f"{path} {fault.what}", fault.mend) from fault
    return OnnxModel.load(path)


def _call(child: Child, stage: str, left_s: float, path: Path) -> float:
    try:
        return float(child.call(stage, max(left_s, 0.1), path=str(path)))
    except ChildDied as fault:
        why = str(fault).split(f"{child.target} ")[-1].split(f"{child.target}.{stage} ")[-1].partition(": ")[0]
        raise InputError(f"is not safe to use: {STAGES[stage]} {why}", "export a smaller or simpler graph") from fault


def _envelope(path: Path) -> float:
    """Walk the outermost fields without reading what is in them; the size in MB.

    A truncated file, an image or a sparse file of a terabyte is told apart here, for the price of a few reads.
    """
    if not path.exists():
        raise InputError("does not exist", "check the path")
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise InputError("is a folder" if path.is_dir() else "is not a regular file", "give the .onnx file itself")
    if status.st_size == 0:
        raise InputError("is empty", "export it again")
    try:
        with path.open("rb") as file:
            _walk(file, status.st_size)
    except OSError as fault:
        raise InputError(f"cannot be read ({os.strerror(fault.errno or 0)})", "see that you may read it") from fault
    return status.st_size / 1e6


def _walk(file: IO[bytes], size: int) -> None:
    start = file.read(5)
    file.seek(0)
    kind = next((what for magic, what in _OTHERS.items() if start.startswith(magic)), "not an ONNX file")
    seen: set[int] = set()
    for _ in range(MAX_FIELDS):
        if file.tell() >= size:
            break
        field, wire = divmod(_varint(file), 8)
        if _FIELDS.get(field) != wire:
            raise InputError(f"is {kind}" if field not in seen else "is damaged", "export the network to ONNX first")
        seen.add(field)
        length = _varint(file)
        end = file.tell() + (length if wire == _BYTES else 0)
        if end > size:
            raise InputError(
                f"is cut off: {end - size} bytes are missing at its end" if _GRAPH in seen else f"is {kind}",
                "copy or export it again",
            )
        file.seek(end)
    else:
        raise InputError(f"has more than {MAX_FIELDS} outermost fields", "export it again")
    if _GRAPH not in seen:
        raise InputError("holds no graph" if kind.startswith("not") else f"is {kind}", "export it again")
    if size > MAX_MB * 1e6:
        raise InputError(f"has {size / 1e6:.0f} MB", f"{MAX_MB} MB is the most that one ONNX file can be")


def _varint(file: IO[bytes]) -> int:
    value = 0
    for place in range(10):
        byte = file.read(1)
        if not byte:
            raise InputError("is cut off in the middle of a field", "copy or export it again")
        value |= (byte[0] & 0x7F) << (7 * place)
        if byte[0] < 0x80:
            return value
    raise InputError("is not an ONNX file", "export the network to ONNX first")


class Examiner:
    """The child's side: each stage builds on the one before. Plain values in and out."""

    def read(self, path: str) -> float:
        """Parse; the size of the external data in MB."""
        import onnx
        from google.protobuf.message import DecodeError

        self.model = onnx.ModelProto()
        try:
            self.model.ParseFromString(Path(path).read_bytes())
        except DecodeError as fault:
            raise InputError("is damaged: it does not parse as ONNX", "copy or export it again") from fault
        return weights.external(self.model, Path(path).parent, MAX_MB - Path(path).stat().st_size / 1e6)

    def check(self, path: str) -> float:
        """ONNX's checker, then our own lint, whose words go first since they tell the mend."""
        import onnx

        complaint = ""
        try:
            onnx.checker.check_model(path)  # by its absolute path, so that external data is checked as well
        except Exception as fault:  # ValidationError, and whatever else the binding lets through
            complaint = (str(fault).strip().splitlines() or [type(fault).__name__])[0]
        lint.check(self.model)
        weights.check(self.model, Path(path).parent)
        if complaint:
            raise InputError(f"is refused by onnx.checker: {complaint[:300]}", "export it again")
        return 0

    def build(self, path: str) -> float:
        """Build a session with every optimisation on, as it will be used."""
        try:
            import onnxruntime as ort
        except ImportError as fault:
            raise MissingError(
                "cannot be tried in ONNX Runtime first, which is not installed", 'pip install "hasten[onnxruntime]"'
            ) from fault
        options = ort.SessionOptions()
        options.log_severity_level = 4
        try:
            self.session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as fault:
            raise InputError(
                f"is refused by ONNX Runtime: {_words(fault)}", "export it again, with an older opset perhaps"
            ) from fault
        return 0

    def run(self, path: str) -> float:
        """One call on zeros: a wish for too much memory is refused here; time and crashes are the parent's to see."""
        feed = {
            t.name: np.zeros([n if isinstance(n, int) else 1 for n in t.shape], t.dtype)
            for t in OnnxModel(self.model).signature.inputs
        }
        try:
            self.session.run(None, feed)
        except Exception as fault:
            if any(word in str(fault) for word in ("allocate", "bad_alloc")):
                raise InputError(
                    f"wants too much memory when it runs: {_words(fault)}", "export a smaller graph"
                ) from fault
        return 0


def _words(fault: Any) -> str:
    """ONNX Runtime's own words, without its prefix and source places."""
    said = (str(fault).strip().splitlines() or [type(fault).__name__])[0]
    return said.rpartition(" : ")[2][:300]
