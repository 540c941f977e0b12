"""TensorRT and TensorRT-RTX: building, on this machine; running, with this machine's memory in the GPU's place."""

import ctypes
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from graphs import model
from onnx import helper

from hasten import find
from hasten.engines import _cuda, _rtx
from hasten.engines._cuda import Device
from hasten.engines._device import OnDevice
from hasten.engines._tensorrt import Lengths, brief, serialized
from hasten.errors import InputError, MissingError, UsageError
from hasten.model import OnnxFile, OnnxModel, Signature, Tensor

here = pytest.mark.skipif(_rtx.missing() is not None, reason=str(_rtx.missing()))
RTX, TRT = find.engine("tensorrt_rtx"), find.engine("tensorrt")
LENGTHS = Lengths(typical=2, most=8, longest=16)
TEXT = Signature((Tensor("image", "float32", ("N", 3, "W")), Tensor("ids", "int64", ("N", 2))), ())


def fixed() -> OnnxModel:
    """Two samples a call."""
    weight = np.arange(12, dtype=np.float32).reshape(4, 3)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    return OnnxModel(model([node], {"x": (2, 4)}, {"y": (2, 3)}, {"w": weight}))


def free() -> OnnxModel:
    """Any number of samples, of any length."""
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("GlobalAveragePool", ["r"], ["y"])]
    return OnnxModel(model(nodes, {"x": ("N", 3, "W")}, {"y": ("N", 3, 1)}, {}))


def asymmetric() -> OnnxModel:
    """Q and DQ with a zero point, as ONNX Runtime likes them."""
    ends = {"s": np.float32(0.1), "z": np.uint8(128)}
    nodes = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="first")]
    nodes += [helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], name="second")]
    return OnnxModel(model(nodes, {"x": (1, 3)}, {"y": (1, 3)}, ends))


# ---- building ----


@here
def test_an_engine_file_needs_no_gpu_and_is_the_same_again() -> None:
    plan = RTX().build(free())
    assert len(plan) > 1000
    assert RTX().build(free()) == plan
    assert RTX(target="sm86").build(free()) != plan


@here
def test_a_file_is_built_as_its_model_is(tmp_path: Path) -> None:
    saved = fixed().save(tmp_path / "m.onnx")
    assert RTX().build(OnnxFile(saved.path, saved.signature)) == RTX().build(saved)


@here
def test_what_the_lint_refuses_never_reaches_the_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_rtx, "opened", lambda *_: pytest.fail("opened"))
    with pytest.raises(InputError, match=r"its zero point is not 0; ranges around zero: quantize\(method=placed"):
        RTX().build(asymmetric())


@here
def test_the_parser_names_node_and_module() -> None:
    nodes = [helper.make_node("Det", ["x"], ["y"], name="head.det")]
    made = OnnxModel(model(nodes, {"x": (1, 3, 3)}, {"y": (1,)}, {}))
    made.proto.graph.node[0].metadata_props.add(key="hasten.module", value="net.head")
    with pytest.raises(InputError, match=r"refuses the model at Det head.det of net.head: ") as refusal:
        RTX().build(made)
    assert "\n" not in str(refusal.value)


@here
def test_profiles_are_what_the_builder_is_given() -> None:
    """A network that allows only one length of an axis is refused where the profile says another."""
    trt, seen = _rtx.load(), []

    def configure(builder: object, config: object) -> None:
        seen.append(config.num_optimization_profiles)

    serialized(trt, free(), LENGTHS, configure)
    serialized(trt, fixed(), LENGTHS, configure)
    assert seen == [1, 0]


def test_lengths_of_free_axes() -> None:
    assert LENGTHS.of(TEXT, "image", (-1, 3, -1)) == ((1, 3, 1), (2, 3, 16), (8, 3, 16))
    assert LENGTHS.of(TEXT, "ids", (-1, 2)) == ((1, 2), (2, 2), (8, 2))
    assert replace(LENGTHS, fixed=True).of(TEXT, "ids", (-1, 2)) == ((2, 2),) * 3
    for odd in ({"typical": 0}, {"typical": 4, "most": 2}, {"longest": 0}):
        with pytest.raises(UsageError, match="no lengths of axes"):
            RTX(**odd)


@here
def test_what_was_timed_is_kept_and_read_again(tmp_path: Path) -> None:
    kept = tmp_path / "a" / "timing"
    for _ in range(2):
        serialized(_rtx.load(), fixed(), LENGTHS, lambda *_: None, kept)
        assert kept.stat().st_size > 0
    kept.write_bytes(b"no such thing")
    serialized(_rtx.load(), fixed(), LENGTHS, lambda *_: None, kept)


@pytest.fixture
def as_tensorrt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """TensorRT-RTX in the place of TensorRT, whose interface it has, on a machine that seems to have a GPU."""
    monkeypatch.setitem(sys.modules, "tensorrt", _rtx.load())
    monkeypatch.setattr(TRT, "missing", classmethod(lambda cls: None))
    monkeypatch.setattr(_cuda, "name", lambda: "gpu-sm86")
    monkeypatch.setenv("HASTEN_CACHE", str(tmp_path))


@here
@pytest.mark.usefixtures("as_tensorrt")
def test_tensorrt_builds_by_the_same_code(tmp_path: Path) -> None:
    assert TRT().build(free()) == RTX().build(free())
    assert [p.name for p in (tmp_path / "tensorrt").iterdir()] == [f"gpu-sm86-{_rtx.version()}.timing"]
    with pytest.raises(MissingError, match="there are 0 DLA cores; dla_core=1 is not one"):
        TRT(dla_core=1).build(fixed())


def test_without_a_gpu_they_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cuda, "absent", lambda: "this machine has no NVIDIA driver: run it on one that has")
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: object())
    for kind in (RTX, TRT):
        assert "no NVIDIA driver" in str(kind.missing())
        assert "not verified on hardware" in kind.caveat
        with pytest.raises(MissingError, match="no NVIDIA driver"):
            kind().compile(fixed())


def test_an_engine_without_a_file_says_so() -> None:
    with pytest.raises(UsageError, match="onnxruntime has no file of its own"):
        find.engine("onnxruntime")().build(fixed())


def test_what_they_say_is_cut_to_what_matters() -> None:
    assert brief("IBuilder: a: b. In f at /_src/x.cpp:1") == "IBuilder: a: b"
    assert brief("") == "no reason given"


# ---- running: the marshalling, with host memory for the GPU's ----


class Host:
    """CUDA's runtime, whose device is this process's memory."""

    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)  # noqa: N815

    def __init__(self) -> None:
        self.held: dict[int, ctypes.Array] = {}
        self.done: list[str] = []

    def cudaStreamCreate(self) -> tuple[int, int]:  # noqa: N802
        return 0, 7

    def cudaStreamDestroy(self, stream: int) -> tuple[int]:  # noqa: N802
        self.done.append("destroyed")
        return (0,)

    def cudaMalloc(self, size: int) -> tuple[int, int]:  # noqa: N802
        block = (ctypes.c_char * size)()
        self.held[ctypes.addressof(block)] = block
        return (0, ctypes.addressof(block)) if size < 1 << 30 else (2, 0)

    def cudaFree(self, address: int) -> tuple[int]:  # noqa: N802
        del self.held[address]
        return (0,)

    def cudaMemcpyAsync(self, to: int, source: int, size: int, kind: int, stream: int) -> tuple[int]:  # noqa: N802
        assert stream == 7
        assert (to if kind == 1 else source) in self.held
        ctypes.memmove(to, source, size)
        return (0,)

    def cudaStreamSynchronize(self, stream: int) -> tuple[int]:  # noqa: N802
        self.done.append("waited")
        return (0,)


class Context:
    """An execution context that adds one to `x`, and sums it up, in the memory that it is pointed to."""

    def __init__(self, most: int) -> None:
        self.most, self.at, self.shape = most, {}, ()

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = shape
        return shape[0] <= self.most

    def set_tensor_address(self, name: str, address: int) -> None:
        self.at[name] = address

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shape if name == "y" else ()

    def execute_async_v3(self, stream: int) -> bool:
        x = np.frombuffer(ctypes.string_at(self.at["x"], 4 * int(np.prod(self.shape))), np.float32)
        ctypes.memmove(self.at["y"], (x + 1).tobytes(), 4 * x.size)
        ctypes.memmove(self.at["total"], np.float32(x.sum()).tobytes(), 4)
        return True


@pytest.fixture
def on_host() -> Callable[..., tuple[OnDevice, Host, list[Lengths]]]:
    def make(**more: object) -> tuple[OnDevice, Host, list[Lengths]]:
        host, built = Host(), []
        signature = Signature(
            (Tensor("x", "float32", ("N", 3)),), (Tensor("y", "float32", ("N", 3)), Tensor("total", "float32", ()))
        )

        def build(lengths: Lengths) -> bytes:
            built.append(lengths)
            return bytes([lengths.most])

        file = OnnxFile(Path("m.onnx"), signature)
        lengths = Lengths(1, 4, 8, **more)
        return OnDevice(file, lengths, build, lambda plan: Context(plan[0]), Device(host)), host, built

    return make


def feed(n: int) -> dict[str, np.ndarray]:
    return {"x": np.arange(3 * n, dtype=np.float32).reshape(n, 3)}


def test_arrays_go_there_and_back(on_host) -> None:
    running, host, built = on_host()
    answers = [(n, running.run(feed(n))) for n in (2, 4, 1)]
    for n, answer in answers:
        np.testing.assert_array_equal(answer["y"], feed(n)["x"] + 1)
        assert answer["total"] == feed(n)["x"].sum()
        assert answer["total"].shape == ()
    strided = {"x": np.asfortranarray(feed(4)["x"])}
    np.testing.assert_array_equal(running.run(strided)["y"], feed(4)["x"] + 1)
    assert len(built) == 1
    running.close()
    running.close()
    assert not host.held
    assert host.done.count("destroyed") == 1


def test_a_longer_call_builds_anew(on_host) -> None:
    running, _, built = on_host()
    np.testing.assert_array_equal(running.run(feed(9))["y"], feed(9)["x"] + 1)
    running.run(feed(17))
    assert [b.most for b in built] == [4, 18]
    with pytest.raises(InputError, match="'x' has no elements"):
        running.run(feed(0))


def test_a_dla_takes_calls_of_one_size(on_host) -> None:
    running, _, built = on_host(fixed=True)
    running.run(feed(1))
    with pytest.raises(InputError, match="a DLA takes 1 samples a call, and 2 were given"):
        running.run(feed(2))
    assert len(built) == 1


def test_what_cuda_refuses_is_said() -> None:
    with pytest.raises(InputError, match="CUDA says 2"):
        Device(Host()).hold("x", 1 << 30)
