"""Films of grey light that comes and goes, and a bundle that tells when it is bright."""

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from hasten import Answer, Bundle, Data, Pipeline, Prepare, Window
from hasten.engines.openvino import OpenVino
from hasten.model import OnnxModel
from hasten.stage import Stage

TICKS = 60_000
FPS, LENGTH, SIDE = 10.0, 5, 16
WINDOW = Window(LENGTH / FPS, FPS, 1 / FPS, max_gap_s=0.3)
DARK, BRIGHT = 60, 200
LATER = [2.0, 4.0, 6.0, 8.0, 10.0]  # what a frame weighs by its place in the window: its order counts


def pulses(*spans: tuple[float, float]) -> Callable[[float], int]:
    """Light that is bright within these spans of seconds."""
    return lambda t: BRIGHT if any(a <= t < b for a, b in spans) else DARK


def steady(seconds: float, fps: int = 60) -> list[int]:
    return [i * TICKS // fps for i in range(round(seconds * fps))]


def film(
    path: Path, ticks: Sequence[int], light: Callable[[float], int], *, size: tuple[int, int] = (64, 48),
    pix_fmt: str = "yuv420p", codec: str = "libx264", format_name: str | None = None, gop: int = 30, noise: int = 12,
) -> Path:  # fmt: skip
    """Write a film whose frame at each tick (TICKS a second) is as bright as `light` says, with some noise on it."""
    import av

    rng = np.random.default_rng(0)
    with av.open(str(path), "w", format=format_name) as container:
        stream = container.add_stream(codec, rate=60)
        stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
        stream.thread_count = 1
        if codec == "libx264":
            stream.gop_size, stream.options = gop, {"preset": "veryfast", "crf": "20"}
            stream.time_base = stream.codec_context.time_base = Fraction(1, TICKS)
        for i, tick in enumerate(ticks):
            picture = frame(size, light(tick / TICKS), rng, noise, pix_fmt)
            base = Fraction(1, TICKS) if codec == "libx264" else Fraction(1, 60)
            picture.pts, picture.time_base = (tick if codec == "libx264" else i), base
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def frame(size: tuple[int, int], luma: int, rng: np.random.Generator, noise: int = 12, pix_fmt: str = "yuv420p"):  # type: ignore[no-untyped-def]
    import av

    picture = av.VideoFrame(*size, pix_fmt)
    for n, plane in enumerate(picture.planes):
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        rows[:] = 128 if n else luma + rng.integers(0, noise + 1, rows.shape)
    return picture


def y4m(
    seconds: float, light: Callable[[float], int], size: tuple[int, int] = (64, 48), fps: int = 60
) -> Iterable[bytes]:
    """A header, then frame after frame."""
    width, height = size
    yield f"YUV4MPEG2 W{width} H{height} F{fps}:1 Ip A1:1 C420jpeg\n".encode()
    for i in range(round(seconds * fps)):
        luma = light(i / fps)
        yield b"FRAME\n" + bytes([luma]) * (width * height) + b"\x80" * (width * height // 2)


def watcher(folder: Path, limit: float | None = None, **answer: float) -> Bundle:
    """A bundle of two stages: the mean light of a frame; whether that of a window, its end most, is high.

    With a limit its score has a second row, which is far below the first, and NaN where the first is above the limit.
    """
    middle = (DARK + BRIGHT) / 2

    def stage(name: str, graph: onnx.GraphProto, when: str) -> Stage:
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        onnx.checker.check_model(model)
        saved = OnnxModel(model).save(folder / f"{name}.onnx")
        engine = OpenVino(threads=1, hint="f32")
        return Stage(name, folder / f"{name}.onnx", engine, saved.signature, when)  # type: ignore[arg-type]

    f32 = onnx.TensorProto.FLOAT
    folder.mkdir(parents=True, exist_ok=True)
    value = helper.make_tensor_value_info
    node, ints = helper.make_node, onnx.TensorProto.INT64
    light = helper.make_graph(
        [node("ReduceMean", ["frame", "axes"], ["light"], keepdims=0), node("Unsqueeze", ["light", "1"], ["features"])],
        "light",
        [value("frame", f32, ["N", 1, SIDE, SIDE])],
        [value("features", f32, ["N", 1])],
        [helper.make_tensor("axes", ints, [3], [1, 2, 3]), helper.make_tensor("1", ints, [1], [1])],
    )
    limited, row = limit is not None, "score" if limit is None else "row"
    nodes = [
        node("Mul", ["features", "gain"], ["weighed"]),
        node("ReduceMean", ["weighed", "time"], [row], keepdims=int(limited)),
        node("Sub", ["limit", "row"], ["below"]),
        node("Sqrt", ["below"], ["root"]),
        node("Sub", ["root", "far"], ["second"]),
        node("Concat", ["row", "second"], ["score"], axis=1),
    ]
    score = helper.make_graph(
        nodes if limited else nodes[:2],
        "score",
        [value("features", f32, ["N", LENGTH, 1])],
        [value("score", f32, ["N", 2, 1] if limited else ["N", 1])],
        [
            helper.make_tensor("time", ints, [1], [1]),
            helper.make_tensor("gain", f32, [LENGTH, 1], LATER),
            *[helper.make_tensor(name, f32, [1], [v]) for name, v in (("limit", limit), ("far", 20.0)) if limited],
        ],
    )
    rng = np.random.default_rng(0)
    shades = np.where(np.arange(24) % 2, BRIGHT, DARK)[:, None, None, None]
    raw = (shades + rng.integers(0, 12, (24, LENGTH, 48, 32))).astype(np.uint8)
    raw[:, :, 32:] = 128
    prepare = Prepare("image", source="I420", colour="grey", size=(SIDE, SIDE), mean=(middle,), std=(70.0,))
    how = Answer("events", activation="sigmoid", labels=("bright",), **({"on": 0.7, "off": 0.3} | answer))
    return Bundle.write(
        folder / "bundle", stages=[stage("light", light, "frame"), stage("score", score, "window")],
        pipeline=Pipeline({"frame": prepare}, WINDOW, how), recipe="as it is", measurements={}, conditions={},
        cases=Data({"frame": raw}),
    )  # fmt: skip
