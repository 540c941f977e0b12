"""Makes spec/golden and spec/broken anew: bundles that every reader has to run, and such that it has to refuse.

    python spec/make.py            needs hasten[openvino]

Networks are small, their weights come from seeded generators. Each golden bundle shows one part of the format. A broken
bundle is a folder too; spec/broken/cases.json says with which exit code and with which sentence it is refused, but for
what a parser of JSON or of arrays adds in parentheses.
"""

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hasten import Answer, Bundle, Data, HastenError, Pipeline, Prepare, Window, find
from hasten.manifest import BLANK
from hasten.stage import Stage, Unless

HERE = Path(__file__).parent
LABELS = ("cat", "dog", "fish")
MOST_BYTES = 100_000  # of a golden bundle


def node(op: str, inputs: str, outputs: str, **settings: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), outputs.split(), **settings)


def network(
    path: Path, nodes: Sequence[onnx.NodeProto], inputs: Mapping[str, Any], outputs: Mapping[str, Any], **constants: Any
) -> Stage:
    """A stage on OpenVINO; `inputs` and `outputs`: name -> shape, all f32."""

    def tensors(shapes: Mapping[str, Any]) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]

    made = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, path.stem, tensors(inputs), tensors(outputs), made)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return Stage.of(path, find.engine("openvino")(threads=1), path.stem)


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1 / np.sqrt(shape[0]), shape).astype(np.float32)


def images(*shape: int, count: int = 60) -> np.ndarray:
    """Smooth ones: random corners, blended."""
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 256, (count, *[-(-n // 8) if i < 2 else n for i, n in enumerate(shape)]))
    fine = coarse.repeat(8, axis=1).repeat(8, axis=2)[:, : shape[0], : shape[1]]
    return np.clip(fine + rng.integers(-20, 20, fine.shape), 0, 255).astype(np.uint8)


def flat_classes(folder: Path, shape: Sequence[int], classes: int = 3, name: str = "model") -> Stage:
    """image [N, ...] -> logits [N, classes], by one matrix."""
    size = int(np.prod(shape))
    nodes = [node("Flatten", "image", "flat"), node("MatMul", "flat w", "logits")]
    return network(
        folder / f"{name}.onnx",
        nodes,
        {"image": ["N", *shape]},
        {"logits": ["N", classes]},
        w=weights(size, classes),
    )


def classifier(folder: Path) -> dict[str, Any]:
    """RGB, stretched, mean and deviation by channel; the best two classes with a threshold on the softmax."""
    how = Prepare("image", size=(8, 12), mean=(120.0, 115.0, 105.0), std=(58.0, 57.0, 57.5))
    answer = Answer("classes", "softmax", LABELS, top_k=2, threshold=0.05)
    return {
        "stages": [flat_classes(folder, (3, 8, 12))],
        "pipeline": Pipeline({"image": how}, answer=answer),
        "cases": Data({"image": images(21, 33, 3)}),
    }


def letterbox(folder: Path) -> dict[str, Any]:
    """BGR in, RGB trained; bicubic into a letterbox."""
    how = Prepare("image", source="BGR", size=(12, 12), fit="letterbox", filter="bicubic", fill=114, std=(255.0,))
    return {
        "stages": [flat_classes(folder, (3, 12, 12))],
        "pipeline": Pipeline({"image": how}, answer=Answer("classes", labels=LABELS)),
        "cases": Data({"image": images(16, 30, 3)}),
    }


def nv12(folder: Path) -> dict[str, Any]:
    """NV12 of BT.709 in full range, a crop, and the middle of it."""
    how = Prepare(
        "image", source="NV12", matrix="bt709", range="full", crop=(2, 4, 20, 28), size=(10, 10), fit="centre_crop"
    )
    return {
        "stages": [flat_classes(folder, (3, 10, 10))],
        "pipeline": Pipeline({"image": how}, answer=Answer("classes", labels=LABELS)),
        "cases": Data({"image": images(36, 36)}),
    }


def grey(folder: Path) -> dict[str, Any]:
    """Grey, in its own size, channels last; the answer is a tensor."""
    how = Prepare("image", source="grey", colour="grey", layout="NHWC", mean=(127.0,), std=(128.0,))
    return {
        "stages": [flat_classes(folder, (10, 14, 1))],
        "pipeline": Pipeline({"image": how}),
        "cases": Data({"image": images(10, 14)}),
    }


def two_inputs(folder: Path) -> dict[str, Any]:
    """An image of bytes that stay bytes, as the network normalises them, and an array of four figures."""
    nodes = [
        node("Cast", "image", "floats", to=TensorProto.FLOAT),
        node("Flatten", "floats", "flat"),
        node("Concat", "flat figures", "both", axis=1),
        node("MatMul", "both w", "logits"),
    ]
    stage = network(
        folder / "model.onnx",
        nodes,
        {"image": ["N", 3, 6, 8], "figures": ["N", 4]},
        {"logits": ["N", 3]},
        w=weights(148, 3) * np.float32(0.01),
    )
    model = onnx.load(stage.file)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    onnx.save(model, stage.file)
    stage = Stage.of(stage.file, stage.engine, stage.name)
    how = Prepare("image", size=(6, 8), dtype="uint8")
    figures = np.random.default_rng(6).normal(0, 100, (60, 4)).astype(np.float32)
    return {
        "stages": [stage],
        "pipeline": Pipeline({"image": how}, answer=Answer("classes", labels=LABELS)),
        "cases": Data({"image": images(20, 20, 3), "figures": figures}),
    }


def int8(folder: Path) -> dict[str, Any]:
    """Weights and activations in INT8, as QuantizeLinear and DequantizeLinear; arrays in, classes out."""
    rng = np.random.default_rng(7)
    grid = rng.integers(-127, 128, (16, 12)).astype(np.int8)
    nodes = [
        node("QuantizeLinear", "x step middle", "x8"),
        node("DequantizeLinear", "x8 step middle", "xq"),
        node("DequantizeLinear", "w8 fine zero", "w"),
        node("MatMul", "xq w", "h"),
        node("Relu", "h", "features"),
        node("MatMul", "features head", "logits"),
    ]
    constants = {
        "step": np.float32(0.05),
        "middle": np.uint8(128),
        "w8": grid,
        "fine": np.float32(0.01),
        "zero": np.int8(0),
        "head": weights(12, 3),
    }
    stage = network(folder / "model.onnx", nodes, {"x": ["N", 16]}, {"logits": ["N", 3]}, **constants)
    cases = Data({"x": rng.normal(0, 2, (400, 16)).astype(np.float32)})
    return {"stages": [stage], "pipeline": Pipeline(answer=Answer("classes", labels=LABELS)), "cases": cases}


def detector(folder: Path) -> dict[str, Any]:
    """Scores and boxes on a grid of 4 x 4, two labels; the weaker of two that overlap goes."""
    anchors = np.array([[x, y, x + 6, y + 6] for y in range(-1, 15, 4) for x in range(-1, 15, 4)], np.float32)
    nodes = [
        node("Conv", "image kernel", "grid", strides=[4, 4]),
        node("Transpose", "grid", "last", perm=[0, 2, 3, 1]),
        node("Reshape", "last shape", "cells"),
        node("Slice", "cells zero two axis", "scores"),
        node("Slice", "cells two six axis", "moves"),
        node("Add", "moves anchors", "boxes"),
    ]
    constants = {
        "kernel": np.random.default_rng(8).normal(0, 0.1, (6, 3, 4, 4)).astype(np.float32),
        "shape": np.array([0, 16, 6], np.int64),
        "zero": np.array([0], np.int64),
        "two": np.array([2], np.int64),
        "six": np.array([6], np.int64),
        "axis": np.array([2], np.int64),
        "anchors": anchors[None],
    }
    outputs = {"scores": ["N", 16, 2], "boxes": ["N", 16, 4]}
    stage = network(folder / "model.onnx", nodes, {"image": ["N", 3, 16, 16]}, outputs, **constants)
    how = Prepare("image", size=(16, 16), fit="letterbox", mean=(127.0,), std=(128.0,))
    answer = Answer("boxes", "sigmoid", ("ball", "hoop"), top_k=5, threshold=0.58, iou=0.2)
    return {
        "stages": [stage],
        "pipeline": Pipeline({"image": how}, answer=answer),
        "cases": Data({"image": images(24, 32, 3, count=400)}),
    }


def video(folder: Path) -> dict[str, Any]:
    """Windows of three frames: an encoder for each frame, with a batch of one, and a head over their features."""
    encoder = network(
        folder / "encoder.onnx",
        [node("Flatten", "frame", "flat"), node("MatMul", "flat w", "h"), node("Relu", "h", "features")],
        {"frame": [1, 3, 6, 8]},
        {"features": [1, 8]},
        w=weights(144, 8),
    )
    head = network(
        folder / "head.onnx",
        [node("Flatten", "features", "flat"), node("MatMul", "flat w", "scores")],
        {"features": ["N", 3, 8]},
        {"scores": ["N", 2]},
        w=weights(24, 2, seed=9),
    )
    how = Prepare("image", source="I420", size=(6, 8), std=(64.0,), mean=(110.0,))
    answer = Answer("events", "sigmoid", ("shot", "pass"), on=0.6, off=0.4, refractory_s=2.0)
    clips = images(24, 20, count=180).reshape(60, 3, 24, 20)
    return {
        "stages": [replace(encoder, when="frame"), replace(head, when="window")],
        "pipeline": Pipeline({"frame": how}, Window(0.5, 6.0, 0.25), answer),
        "cases": Data({"frame": clips}),
    }


def cascade(folder: Path) -> dict[str, Any]:
    """A quick network, and a careful one for the samples of which the quick one is not sure."""
    quick = flat_classes(folder, (3, 4, 4), name="quick")
    nodes = [
        node("Flatten", "image", "flat"),
        node("MatMul", "flat body", "h"),
        node("Relu", "h", "features"),
        node("MatMul", "features head", "logits"),
    ]
    shapes = {"image": ["N", 3, 4, 4]}, {"logits": ["N", 3]}
    careful = network(
        folder / "careful.onnx", nodes, *shapes, body=weights(48, 16, seed=3), head=weights(16, 3, seed=4)
    )
    unless = Unless("logits", "softmax", 0.7)
    how = Prepare("image", size=(4, 4), std=(60.0,), mean=(127.0,))
    return {
        "stages": [quick, replace(careful, when="unless", unless=unless)],
        "pipeline": Pipeline({"image": how}, answer=Answer("classes", labels=LABELS)),
        "cases": Data({"image": images(16, 16, 3)}),
    }


def early_exit(folder: Path) -> dict[str, Any]:
    """The first half of a network with a quick answer, and the second, which begins with what the first hands over."""
    first = network(
        folder / "first.onnx",
        [
            node("Conv", "image kernel", "maps", pads=[1, 1, 1, 1]),
            node("Relu", "maps", "features"),
            node("GlobalAveragePool", "features", "means"),
            node("Flatten", "means", "flat"),
            node("MatMul", "flat quick", "logits"),
        ],
        {"image": ["N", 3, 4, 4]},
        {"logits": ["N", 3], "features": ["N", 8, 4, 4]},
        kernel=weights(8, 3, 3, 3, seed=7),
        quick=3 * weights(8, 3, seed=8),
    )
    rest = network(
        folder / "rest.onnx",
        [node("Flatten", "features", "flat"), node("MatMul", "flat whole", "logits")],
        {"features": ["N", 8, 4, 4]},
        {"logits": ["N", 3]},
        whole=weights(128, 3, seed=9),
    )
    how = Prepare("image", size=(4, 4), std=(60.0,), mean=(127.0,))
    return {
        "stages": [first, replace(rest, when="unless", unless=Unless("logits", "softmax", 0.66))],
        "pipeline": Pipeline({"image": how}, answer=Answer("classes", labels=LABELS)),
        "cases": Data({"image": images(16, 16, 3)}),
    }


GOLDEN = (classifier, letterbox, nv12, grey, two_inputs, int8, detector, video, cascade, early_exit)


def golden() -> None:
    shutil.rmtree(HERE / "golden", ignore_errors=True)
    for make in GOLDEN:
        with tempfile.TemporaryDirectory() as aside:
            parts = make(Path(aside))
            target = HERE / "golden" / make.__name__.replace("_", "-")
            about = str(make.__doc__).strip()
            Bundle.write(target, recipe=about, measurements={}, conditions={}, **parts).close()
        size = sum(f.stat().st_size for f in target.rglob("*") if f.is_file())
        print(f"{target.name}: {size / 1e3:.0f} kB")
        if size > MOST_BYTES:
            raise SystemExit(f"{target.name} is larger than {MOST_BYTES / 1e3:.0f} kB")


def seal(folder: Path, data: dict[str, Any]) -> None:
    """bundle.json with digests and seal as they have to be."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() or p.is_symlink())
    listed = (name for name in names if name != "bundle.json")
    data["files"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in listed}
    text = json.dumps(data | {"seal": BLANK}, indent=1)
    (folder / "bundle.json").write_text(text.replace(BLANK, hashlib.sha256(text.encode()).hexdigest(), 1))


def sound(folder: Path) -> None:
    """A small bundle to break: x [N, 4] -> y [N, 3]; all cases are the same one."""
    folder.mkdir()
    stage = network(
        folder / "model.onnx",
        [node("MatMul", "x w", "y")],
        {"x": ["N", 4]},
        {"y": ["N", 3]},
        w=np.eye(4, 3, dtype=np.float32),
    )
    (folder / "golden" / "all").mkdir(parents=True)
    np.save(folder / "golden/all/x.npy", np.array([[1, 5, 2, 0]], np.float32))
    np.save(folder / "golden/all/y.npy", np.array([[1, 5, 2]], np.float32))
    case = {
        "raw": {"x": "golden/all/x.npy"},
        "prepared": {"x": "golden/all/x.npy"},
        "output": {"y": "golden/all/y.npy"},
        "decision": [[1]],
        "margin": 3000.0,
    }
    cases = {"tolerance": {"y": 0.001}, "cases": [{"id": f"{i:03d}", **case} for i in range(8)]}
    (folder / "golden/cases.json").write_text(json.dumps(cases, indent=1))
    content = {
        "format": 1,
        "seal": BLANK,
        "signature": stage.signature.to_json(),
        "stages": [stage.to_json()],
        "pipeline": Pipeline(answer=Answer("classes", labels=LABELS)).to_json(),
        "recipe": "",
        "measurements": {},
        "conditions": {},
        "versions": {},
        "files": {},
    }
    seal(folder, content)


Edit = Callable[[Path], object]


def said(where: str, value: Any, of: str = "bundle.json") -> Edit:
    """Sets a value at a path such as stages.0.when, and seals again."""

    def edit(folder: Path) -> None:
        data = json.loads((folder / of).read_text())
        *parents, last = (int(k) if k.isdigit() else k for k in where.split("."))
        place = data
        for key in parents:
            place = place[key]
        place[last] = value
        if of == "bundle.json":
            seal(folder, data)
        else:
            (folder / of).write_text(json.dumps(data, indent=1))
            seal(folder, json.loads((folder / "bundle.json").read_text()))

    return edit


def text(old: str, new: str) -> Edit:
    """Changes the text of bundle.json, and no seal."""

    def edit(folder: Path) -> None:
        path = folder / "bundle.json"
        before = path.read_text()
        assert old in before
        path.write_text(before.replace(old, new, 1))

    return edit


def content(name: str, change: Callable[[bytes], bytes], sealed: bool = True) -> Edit:
    """Changes the bytes of a file."""

    def edit(folder: Path) -> None:
        (folder / name).write_bytes(change((folder / name).read_bytes()))
        if sealed:
            seal(folder, json.loads((folder / "bundle.json").read_text()))

    return edit


def array(name: str, values: np.ndarray) -> Edit:
    def edit(folder: Path) -> None:
        np.save(folder / name, values)
        seal(folder, json.loads((folder / "bundle.json").read_text()))

    return edit


def linked(folder: Path) -> None:
    (folder / "model.onnx").rename(folder / "net.onnx")
    (folder / "model.onnx").symlink_to("net.onnx")
    seal(folder, json.loads((folder / "bundle.json").read_text()))


def image_of_another_size(folder: Path) -> None:
    """An image whose prepared bytes are not those of the pipeline."""
    how = Prepare("image", source="grey", colour="grey", mean=(1.0,))
    data = json.loads((folder / "bundle.json").read_text())
    data["signature"]["inputs"][0]["shape"] = ["N", 1, 2, 2]
    data["stages"][0]["signature"]["inputs"][0]["shape"] = ["N", 1, 2, 2]
    data["pipeline"]["inputs"] = {"x": Pipeline({"x": how}).to_json()["inputs"]["x"]}
    np.save(folder / "golden/all/raw.npy", np.array([[[3, 4], [5, 6]]], np.uint8))
    np.save(folder / "golden/all/x.npy", np.array([[[[2, 3], [4, 6]]]], np.float32))
    cases = json.loads((folder / "golden/cases.json").read_text())
    for case in cases["cases"]:
        case["raw"]["x"] = "golden/all/raw.npy"
    (folder / "golden/cases.json").write_text(json.dumps(cases, indent=1))
    seal(folder, data)


WINDOW = {"seconds": 0.5, "fps": 6.0, "stride_s": 0.5, "max_gap_s": 0.5, "padding": "wait"}
GOLDEN_CASES = "golden/cases.json"
BROKEN: dict[str, Edit] = {
    "no-json": text("{", "bundle: {"),
    "truncated": content("bundle.json", lambda b: b[: len(b) // 2], sealed=False),
    "key-twice": text('"recipe": ""', '"recipe": "", "recipe": "another"'),
    "not-a-number": text('"threshold": null', '"threshold": NaN'),
    "no-format": said("format", "1"),
    "newer-format": said("format", 2),
    "unknown-key": said("author", "somebody"),
    "unknown-time": said("stages.0.when", "sometimes"),
    "path-outside": said("stages.0.file", "../model.onnx"),
    "changed-json": text('"recipe": ""', '"recipe": "quantize"'),
    "changed-file": content("model.onnx", lambda b: b[:-1] + bytes([b[-1] ^ 1]), sealed=False),
    "missing-file": lambda folder: (folder / "golden/all/y.npy").unlink(),
    "extra-file": lambda folder: (folder / "notes.txt").write_text("nobody listed me"),
    "link": linked,
    "unknown-engine": said("stages.0.engine.name", "abacus"),
    "unknown-setting": said("stages.0.engine.settings.turbo", True),
    "input-from-nowhere": said("stages.0.signature.inputs.0.name", "z"),
    "output-from-nowhere": said("signature.outputs.0.name", "z"),
    "name-twice": said("signature.outputs", [{"name": "y", "dtype": "float32", "shape": ["N", 3]}] * 2),
    "frame-without-window": said("stages.0.when", "frame"),
    "window-without-time": said("pipeline.window", WINDOW),
    "wrong-labels": said("pipeline.answer.labels", ["cat", "dog"]),
    "boxes-without-boxes": said("pipeline.answer.kind", "boxes"),
    "unclear-case": said("cases.3.margin", 9.5, GOLDEN_CASES),
    "case-without-file": said("cases.3.raw.x", "golden/all/z.npy", GOLDEN_CASES),
    "array-truncated": content("golden/all/x.npy", lambda b: b[:-3]),
    "array-of-objects": content("golden/all/x.npy", lambda b: b.replace(b"<f4", b"|O ")),
    "array-too-large": content("golden/all/x.npy", lambda b: b.replace(b"(1, 4), }      ", b"(1, 4000000000)}")),
    "other-prepared": image_of_another_size,
    "other-output": array("golden/all/y.npy", np.array([[1, 5, 2.5]], np.float32)),
    "other-decision": said("cases.5.decision", [[2]], GOLDEN_CASES),
}


OWN = re.compile(r"(?<=is not strict JSON) \(.*\)|(?<=is not a \.npy file) \(.*\)")  # a parser's own words


def broken() -> None:
    place = HERE / "broken"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    cases = {}
    for name, edit in BROKEN.items():
        folder = place / name
        sound(folder)
        Bundle.load(folder).close()
        edit(folder)
        try:
            Bundle.load(folder).close()
        except HastenError as fault:
            cases[name] = {"exit": fault.exit_code, "says": OWN.sub("", str(fault).replace(str(folder), "BUNDLE"))}
            print(f"{name}: {cases[name]['says']}")
        else:
            raise SystemExit(f"{name} is not refused")
    (place / "cases.json").write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    golden()
    broken()
