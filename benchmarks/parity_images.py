"""Do Python and C++ make the same of 1,000 random images: prepared bytes, outputs to the bit, decisions?

    python benchmarks/parity_images.py [--images 1000] [--seed 0]

Images of random sizes and formats go through random pipelines into small networks on OpenVINO, in bundles of fifty.
"""

import argparse
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bar import bar
from hasten import Answer, Bundle, Data, Pipeline, Prepare, cpp, find
from hasten.golden import Undecided
from hasten.stage import Stage

EACH = 50  # images a bundle


def drawn(rng: np.random.Generator) -> tuple[Prepare, np.ndarray]:
    """A pipeline, and images for it."""
    source = str(rng.choice(["RGB", "BGR", "grey", "I420", "NV12"]))
    height, width = (2 * int(n) for n in rng.integers(1, 36, 2))
    colour = str(rng.choice(["RGB", "BGR", "grey"]))
    channels = 1 if colour == "grey" else 3
    floats = bool(rng.random() < 0.7)
    top, left = int(rng.integers(height)), int(rng.integers(width))
    crop = top, left, int(rng.integers(1, height - top + 1)), int(rng.integers(1, width - left + 1))
    how = Prepare(
        "image",
        source,
        str(rng.choice(["bt601", "bt709"])),
        str(rng.choice(["limited", "full"])),
        colour,
        crop if rng.random() < 0.3 else None,
        (int(rng.integers(1, 33)), int(rng.integers(1, 33))),
        str(rng.choice(["stretch", "letterbox", "centre_crop"])),
        str(rng.choice(["bilinear", "bicubic"])),
        int(rng.integers(256)),
        tuple(rng.uniform(50, 150, channels).tolist()) if floats else (0.0,),
        tuple(rng.uniform(30, 80, channels).tolist()) if floats else (1.0,),
        str(rng.choice(["NCHW", "NHWC"])),
        "float32" if floats else "uint8",
    )
    shape = {"grey": (height, width), "I420": (height * 3 // 2, width), "NV12": (height * 3 // 2, width)}
    return how, rng.integers(0, 256, (EACH, *shape.get(source, (height, width, 3))), np.uint8)


def network(path: Path, how: Prepare, rng: np.random.Generator) -> Path:
    """image -> logits [N, 5], by one matrix."""
    assert how.size is not None
    channels = 1 if how.colour == "grey" else 3
    shape = [channels, *how.size] if how.layout == "NCHW" else [*how.size, channels]
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["floats"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["logits"]),
    ]
    kind = TensorProto.FLOAT if how.dtype == "float32" else TensorProto.UINT8
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", kind, ["N", *shape])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(rng.normal(size=(int(np.prod(shape)), 5)).astype(np.float32), "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def compared(rng: np.random.Generator, folder: Path) -> tuple[int, int, int]:
    """Of one bundle: images whose prepared bytes, outputs and decisions are the same."""
    how, images = drawn(rng)
    stage = Stage.of(network(folder / "net.onnx", how, rng), find.engine("openvino")(threads=1))
    pipeline = Pipeline({"image": how}, answer=Answer("classes", "sigmoid", top_k=2, threshold=0.4))
    np.save(folder / "raw.npy", images)
    for part in ("prepared", "outputs"):
        (folder / part).mkdir()
    parts = {"recipe": "", "measurements": {}, "conditions": {}, "cases": Data({"image": images})}
    with Bundle.write(folder / "b", stages=[stage], pipeline=pipeline, **parts) as bundle:
        prepared = bundle.pipeline.prepared({"image": images})["image"]
        outputs = bundle.infer({"image": prepared})
        mine = bundle.pipeline.decide(outputs)
        cpp.answers(bundle.folder, str(folder / "raw.npy"), "--prepared", folder / "prepared")
        told = cpp.answers(bundle.folder, str(folder / "raw.npy"), "--outputs", folder / "outputs")
    theirs, logits = np.load(folder / "prepared/0.npy"), np.load(folder / "outputs/0.npy")
    return (
        sum(a.tobytes() == b.tobytes() for a, b in zip(prepared, theirs, strict=True)),
        sum(a.tobytes() == b.tobytes() for a, b in zip(outputs["logits"], logits, strict=True)),
        sum(a == line["decision"] for a, line in zip(mine, told, strict=True)),
    )


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--images", type=int, default=1000)
    ask.add_argument("--seed", type=int, default=0)
    args = ask.parse_args()
    rng = np.random.default_rng(args.seed)
    cpp.program()
    same = np.zeros(3, int)
    total = 0
    while total < args.images:
        with tempfile.TemporaryDirectory() as folder, suppress(Undecided):  # pixels of nothing: no golden cases
            same += compared(rng, Path(folder))
            total += EACH
    names = ("prepared bytes", "outputs to the bit", "decisions")
    passed = [
        bar(f"random images: {n} alike", int(s), str(total), s == total) for n, s in zip(names, same, strict=True)
    ]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
