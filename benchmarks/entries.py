"""Who takes part: every library in every setting, and the winner that hasten put into a bundle."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from commands import ROOT
from contender import Contender, openvino
from networks import Network

THREADS = (1, 2)


@dataclass
class Entry:
    """A library's way to run the network, or hasten's."""

    name: str
    library: str
    model: Path
    settings: dict[str, Any]
    p50_ms: float | None = None  # of a first look
    drop: dict[str, float] = field(default_factory=dict)
    out: str = ""  # why it does not count

    def open(self, network: Network) -> Contender:
        return Contender(self.name, self.model, self.library, self.settings, network.data("validate"))


def hinted(name: str, model: Path, hints: tuple[str, ...]) -> Iterator[Entry]:
    """On OpenVINO, with each precision for what is not INT8."""
    for threads in THREADS:
        for hint in hints:
            yield Entry(name, "openvino", model, {"threads": threads, "INFERENCE_PRECISION_HINT": hint})


def entries(network: Network, folder: Path) -> Iterator[Entry]:
    """Every library in every setting; a file that cannot be made is an entry that is out."""
    can = openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    both = ("f32", "bf16") if "BF16" in can else ("f32",)
    files = {"ORT FP32": network.model}
    yield from hinted("OpenVINO f32", network.model, ("f32",))
    if "bf16" in both:
        yield from hinted("OpenVINO bf16", network.model, ("bf16",))
    for library, name in (("nncf", "NNCF"), ("onnxruntime", "ORT quantizer")):
        made = folder / f"{library}.onnx"
        command = [
            sys.executable,
            str(ROOT / "benchmarks" / "libraries.py"),
            library,
            str(network.model),
            str(network.data("calibrate")),
            str(made),
            *(["--transformer"] if network.transformer else []),
        ]
        ended = subprocess.run(command, capture_output=True, text=True)
        if not made.exists():
            said = (ended.stderr.strip().splitlines() or ["it died"])[-1][:120]
            yield Entry(f"{name} → both", library, made, {}, out=said)
            continue
        files[f"{name} → ORT"] = made
        yield from hinted(f"{name} → OpenVINO", made, both)
    for name, made in files.items():
        for threads in THREADS:
            yield Entry(name, "onnxruntime", made, {"threads": threads})


def of_result(result: dict[str, Any], bundle: Path, network: Network) -> Entry:
    """What hasten answers: the stage of its bundle, or, where it says no, the fastest model as it is."""
    if result["winner"]:
        stage = json.loads((bundle / "bundle.json").read_text())["stages"][0]
        return entry(
            f"hasten: {result['winner']['recipe']}",
            stage["engine"]["name"],
            bundle / stage["file"],
            stage["engine"]["settings"],
        )
    label = result["baselines"][0]["engine"]
    settings = dict(re.findall(r"(\w+)=(\w+)", label))
    return entry("hasten: as it is", label.partition("(")[0], network.model, settings)


def entry(name: str, library: str, model: Path, said: dict[str, Any]) -> Entry:
    """hasten's settings in the library's own words."""
    settings: dict[str, Any] = {"threads": int(said["threads"])}
    if library == "openvino":
        settings |= {"INFERENCE_PRECISION_HINT": said.get("hint", "f32"), "NUM_STREAMS": int(said.get("streams", 1))}
        if str(said.get("transforms", True)) == "False":
            settings["LP_TRANSFORMS_MODE"] = "NO"
    return Entry(name, library, model, settings)


def plain(entry: Entry) -> dict[str, Any]:
    """As JSON."""
    return asdict(entry) | {"model": entry.model.name}
