"""Networks of different kinds, each as an ONNX file with data: what hasten and the libraries are compared on.

A network is one module here with `METRIC`, `MAX_DROP` and `make(folder)`, which writes model.onnx, calibrate.npz,
validate.npz and test.npz; keys are the input names and `target` or `groups` where there are any. Nothing in this folder
uses hasten. What is made is kept in the cache under a name that changes with the module and its checkpoint.
"""

import hashlib
import importlib
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

NAMES = ("fashion", "efficientnet", "tones", "sequences", "constants", "mobile", "transformer")
EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path += [str(EXAMPLES), str(EXAMPLES / "zoo")]  # for their data and nets: fashion.data, digits.data, mobile
CACHE = Path(os.environ.get("HASTEN_CACHE") or Path.home() / ".cache" / "hasten") / "benchmarks"


@dataclass(frozen=True)
class Network:
    """A network as it is compared: a folder with its file and data, and the budget."""

    name: str
    folder: Path
    metric: str  # top1, or agreement with the FP32 model
    max_drop: float  # in the metric's unit
    transformer: bool  # for quantizers that want to be told

    @property
    def model(self) -> Path:
        return self.folder / "model.onnx"

    def data(self, part: str) -> Path:
        """The archive of `part`: calibrate, validate or test."""
        return self.folder / f"{part}.npz"


def build(name: str) -> Network:
    """The network `name` of NAMES, made on first use.

    Raises:
        FileNotFoundError: data that it needs cannot be fetched.
    """
    module = importlib.import_module(f"networks.{name}")
    here = Path(__file__).parent
    state = hashlib.sha256(b"".join(f.read_bytes() for f in (*sorted(here.glob(f"{name}.*")), here / "export.py")))
    folder = CACHE / f"{name}-{state.hexdigest()[:12]}"
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as aside:
            made = Path(aside) / "made"
            made.mkdir()
            module.make(made)
            made.replace(folder)
    return Network(name, folder, module.METRIC, module.MAX_DROP, getattr(module, "TRANSFORMER", False))
