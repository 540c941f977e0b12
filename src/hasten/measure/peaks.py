"""What this machine can do at most, measured here: operations a second by precision, bytes a second by level of memory.

Arithmetic is that of the engines, since nothing that is measured afterwards runs on anything else: layers so large and
so regular that engines are known to run them near the peak. Nothing is taken from a data sheet.
"""

import contextlib
import itertools
import json
import math
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hasten import files, find
from hasten.child import Child
from hasten.data import Data
from hasten.errors import HastenError, MissingError
from hasten.measure import machine
from hasten.measure.latency import race
from hasten.measure.lock import quiet
from hasten.measure.stand import Entrant, Stand

if TYPE_CHECKING:
    import onnx

Kind = Literal["product", "pointwise", "convolution", "wide"]
KINDS: tuple[Kind, ...] = ("product", "pointwise", "convolution", "wide")
Traffic = Literal["read", "copy"]
TRAFFIC: tuple[Traffic, ...] = ("read", "copy")
LAYERS = 8  # of a network, so that what stands before and behind them is little
ROWS = 256  # of products
ROUNDS = 6
LARGE, TIMES = 256 << 20, 4  # bytes of a working set that no cache holds, and how many times the last cache
READ_S = 0.25
_FORMAT = 3  # of what is remembered
_CPUS = Path("/sys/devices/system/cpu")
_LIMIT_S = 300.0  # on what hangs


@dataclass(frozen=True)
class Peaks:
    """Attributes:
    threads: that worked together.
    operations: by precision, f32, bf16 or int8: operations a second, two for each multiply-add. A precision in which
        no engine here computes is not among them.
    layers: by precision, which layer on which engine that was.
    read: by level, L1, L2, L3, memory: bytes a second.
    copy: the same of a copy, which counts bytes read and bytes written.
    holds: bytes by level, of the caches that these threads have, all together; not of memory.
    """

    threads: int
    operations: Mapping[str, float]
    layers: Mapping[str, str]
    read: Mapping[str, float]
    copy: Mapping[str, float]
    holds: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def peaks(threads: int) -> Peaks:
    """Those of this machine with `threads`; measured once for these engines, and remembered.

    The clock of a machine is another from one minute to the next: arithmetic that has been measured before is tried
    again, on the layer that it was fastest on, and a peak is the most that was ever seen.

    Raises:
        MissingError: no engine that runs ONNX is here, or none can run.
    """
    path, key = files.cache_folder() / "peaks.json", _key(threads)
    with quiet():
        if key in (known := files.remembered(path)):
            before = Peaks(**known[key])
            now, _ = _operations(threads, before.layers)
            most = {p: max(rate, now.get(p, 0.0)) for p, rate in before.operations.items()}
            found = replace(before, operations=most)
        else:
            rates, layers = _operations(threads)
            sizes = levels(threads)
            with Child("hasten.measure.peaks:Memory", cpus=machine.cpus(threads)) as child:
                read, copy = (
                    child.call("rates", _LIMIT_S, traffic=traffic, sizes=sizes, threads=threads) for traffic in TRAFFIC
                )
            holds = {level: 2 * size * threads for level, size in sizes.items() if level != "memory"}
            found = Peaks(threads, rates, layers, read, copy, holds)
        files.write(path, json.dumps(known | {key: found.to_json()}, indent=1))
    return found


def _operations(threads: int, only: Mapping[str, str] | None = None) -> tuple[dict[str, float], dict[str, str]]:
    """The most that any engine here makes of any of the networks, by precision; and which one that was.

    Args:
        only: by precision, the one that is tried; all of them where it is missing.
    """
    kinds = {n: k for n, k in find.engines().items() if k.takes == "onnx" and not k.missing()}
    if not kinds:
        raise MissingError("no engine that runs ONNX was found", "pip install 'hasten[onnxruntime,openvino]'")
    best, layers = dict[str, float](), dict[str, str]()
    with tempfile.TemporaryDirectory(prefix="hasten-") as scratch, ExitStack() as stack:
        stands: list[tuple[str, Kind, Stand]] = []
        for kind, int8 in itertools.product(KINDS, (False, True)):
            path, feed = Path(scratch) / f"{kind}-{int8}.onnx", Path(scratch) / kind
            path.write_bytes(network(kind, int8).SerializeToString())
            Data({"x": np.ones((2, *_SHAPES[kind][0]), np.float32)}).save(feed)
            for name, engine in kinds.items():
                for setting in engine.variants(int8):
                    if not setting.fallback and (setting.precision == "f32" or not int8):
                        entrant = Entrant(path, name, vars(replace(setting, threads=threads)))
                        precision = "int8" if int8 else setting.precision
                        if only is not None and only.get(precision) != _layer(kind, name):
                            continue
                        with contextlib.suppress(HastenError):  # an engine that fails at it has no peak in it
                            stands.append((precision, kind, stack.enter_context(Stand(entrant, feed))))
        if not stands:
            raise MissingError("no engine here could run what the peaks are measured with", "run hasten doctor")
        times = race([stand for _, _, stand in stands], rounds=ROUNDS, launches=1)
        for place, (precision, kind, stand) in enumerate(stands):
            fastest = min(min(burst[place]) for rounds in times.times_ms for burst in rounds)
            rate = operations(kind) / (fastest / 1e3)
            whole = precision != "int8" or stand.facts["int8_share"]  # or this engine runs such a layer in floats
            if whole and rate > best.get(precision, 0.0):
                best[precision], layers[precision] = rate, _layer(kind, stand.entrant.engine)
    return best, layers


def _layer(kind: Kind, engine: str) -> str:
    return f"{kind} on {engine}"


_SHAPES: Mapping[Kind, tuple[tuple[int, ...], tuple[int, ...]]] = {  # of a sample, and of a layer's weights
    "product": ((ROWS, 1024), (1024, 1024)),
    "pointwise": ((512, 28, 28), (512, 512, 1, 1)),
    "convolution": ((256, 14, 14), (256, 256, 3, 3)),
    "wide": ((128, 28, 28), (128, 128, 3, 3)),
}


def operations(kind: Kind) -> int:
    """Of the whole network, two for each multiply-add."""
    sample, weights = _SHAPES[kind]
    return 2 * LAYERS * math.prod(weights) * (ROWS if kind == "product" else math.prod(sample[1:]))


def network(kind: Kind, int8: bool) -> "onnx.ModelProto":
    """`x` f32 [N, ...] -> `y` of the same shape, by layers of one kind with random weights."""
    from onnx import TensorProto, helper, numpy_helper

    sample, shape = _SHAPES[kind]
    rng = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, Any] = {"scale": np.float32(0.02), "zero": np.uint8(128), "even": np.int8(0)}

    def stored(name: str) -> str:
        ends = ["scale", "zero"]
        nodes.append(helper.make_node("QuantizeLinear", [name, *ends], [f"{name}q"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}q", *ends], [f"{name}dq"]))
        return f"{name}dq"

    value = stored("x") if int8 else "x"
    for layer in range(LAYERS):
        weight, made = f"w{layer}", "y" if layer == LAYERS - 1 else f"v{layer}"
        if int8:
            constants[f"{weight}q"] = rng.integers(-127, 128, shape, np.int8)
            nodes.append(helper.make_node("DequantizeLinear", [f"{weight}q", "scale", "even"], [weight]))
        else:
            constants[weight] = rng.normal(0, 1 / math.sqrt(math.prod(shape[1:])), shape).astype(np.float32)
        out = f"{made}f" if int8 else made
        if kind == "product":
            nodes.append(helper.make_node("MatMul", [value, weight], [out]))
        else:
            nodes.append(helper.make_node("Conv", [value, weight], [out], pads=[shape[-1] // 2] * 4))
        value = stored(out) if int8 else out
    if int8:
        nodes[-1].output[0] = "y"
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ("N", *sample)) for n in ("x", "y")]
    weights = [numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items() if int8 or n[0] == "w"]
    for place, node in enumerate(nodes):
        node.name = f"{node.op_type}{place}"
    graph = helper.make_graph(nodes, kind, ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


class Memory:
    """In a process of its own, on the processors that are meant."""

    def rates(self, traffic: Traffic, sizes: Mapping[str, int], threads: int) -> dict[str, float]:
        """By level, bytes a second."""
        from hasten import _core

        return {level: _core.bandwidth(traffic, size, threads, READ_S) for level, size in sizes.items()}


def levels(threads: int, root: Path = _CPUS) -> dict[str, int]:
    """By level, the bytes that one of `threads` walks over: half of a cache, its share where several have it.

    Of the processors that so many threads run on; where these differ, the smallest share.
    """
    mine = set(machine.cpus(threads))
    found: dict[str, int] = {}
    last = 0
    for processor in mine:
        for folder in sorted((root / f"cpu{processor}" / "cache").glob("index*")):
            try:
                level, kind, size, users = (
                    (folder / f).read_text().strip() for f in ("level", "type", "size", "shared_cpu_list")
                )
                whole = _bytes(size)
            except (OSError, ValueError):
                continue  # a kernel that does not tell it
            if kind != "Instruction":
                last = max(last, whole)
                share = whole // 2 // max(1, len(_cpus(users) & mine))
                found[f"L{level}"] = min(share, found.get(f"L{level}", share))
    nearest = dict(sorted(found.items()))
    together = 2 * next(reversed(nearest.values()), 0) * threads  # of the last level, where there are several
    return nearest | {"memory": max(LARGE, TIMES * last, TIMES * together) // threads}


def _bytes(size: str) -> int:
    """Of `48K` or `32M`."""
    units = {"K": 10, "M": 20, "G": 30}
    return int(size[:-1]) << units[size[-1]] if size[-1:] in units else int(size)


def _cpus(text: str) -> set[int]:
    ends = [part.split("-") for part in text.split(",") if part]
    return {p for pair in ends for p in range(int(pair[0]), int(pair[-1]) + 1)}


def _key(threads: int) -> str:
    versions = {n: k.version() for n, k in find.engines().items() if k.takes == "onnx" and not k.missing()}
    return json.dumps([_FORMAT, machine.fingerprint(), machine.cpus(threads), versions, threads])
