"""The gate: every hostile file is refused with its own sentence, in time and within the memory; real models pass."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from hostile_files import CATALOGUE, good, outside, real_models, saved

from hasten.child import Child
from hasten.diagnose import hostile, weights
from hasten.diagnose.hostile import Examiner, admit
from hasten.errors import InputError, MissingError

GUARD_S, GUARD_MB = 40, 2200  # the promised 30 s and 2000 MB, plus what passes between two looks at the child
SLOW_S = {"computed_loop": 6.0}  # these end by the time limit: the test does not wait the full 30 s


@pytest.fixture
def peaks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Peak resident MB of each child, read as it is closed."""
    seen: list[float] = []

    class Watched(Child):
        def close(self) -> None:
            try:
                status = Path(f"/proc/{self.pid}/status").read_text()
                seen.extend(int(line.split()[1]) / 1e3 for line in status.splitlines() if line.startswith("VmHWM"))
            except OSError:
                pass
            super().close()

    monkeypatch.setattr(hostile, "Child", Watched)
    return seen


@pytest.mark.parametrize("name", CATALOGUE)
def test_refused_in_time_and_memory(name: str, tmp_path: Path, peaks: list[float]) -> None:
    write, words = CATALOGUE[name]
    path = write(tmp_path)
    began = time.monotonic()
    with pytest.raises(InputError) as fault:
        admit(path, timeout_s=SLOW_S.get(name, 30.0))
    assert time.monotonic() - began < GUARD_S
    assert words in str(fault.value)
    assert str(fault.value).startswith(f"{path} ")
    assert "\n" not in str(fault.value)
    assert fault.value.mend
    assert fault.value.exit_code == 3
    assert all(peak < GUARD_MB for peak in peaks)


@pytest.mark.parametrize("name", sorted(real_models()))
def test_real_models_pass(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(real_models()[name].SerializeToString())
    assert admit(path).proto.graph.output[0].name == "y"


def test_tiny_network_passes(tiny_onnx: Path) -> None:
    assert admit(tiny_onnx).signature.batch is not None


def test_external_data_inside_is_taken_in(tmp_path: Path) -> None:
    model = admit(saved(tmp_path, outside("weights.bin")))
    assert np.array_equal(onnx.numpy_helper.to_array(model.proto.graph.initializer[0]), np.arange(4, dtype=np.float32))


def test_legacy_exporters_loop_passes(tmp_path: Path) -> None:
    import torch

    class Scan(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            state = torch.zeros_like(x[0])
            for i in range(x.size(0)):
                state = torch.tanh(state + x[i])
            return state

    path = tmp_path / "scan.onnx"
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            torch.jit.script(Scan()),
            (torch.zeros(3, 4),),
            str(path),
            dynamo=False,
            input_names=["x"],
            dynamic_axes={"x": {0: "T"}},
        )
    assert "Loop" in {n.op_type for n in admit(path).proto.graph.node}


def test_parent_imports_no_engine(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(good().SerializeToString())
    code = (
        f"import sys; from hasten.diagnose.hostile import admit; admit({str(path)!r});"
        "assert not {'onnxruntime', 'openvino', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_onnxruntime_the_piece_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingError, match="pip install"):
        Examiner().build("model.onnx")


def test_a_crash_of_the_examiner_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(good().SerializeToString())
    monkeypatch.setattr(hostile, "STAGES", {"nonsense": "thinking about it"})
    with pytest.raises(InputError, match="thinking about it raised AttributeError"):
        admit(path)


def test_large_weights_are_within_the_caps(tmp_path: Path) -> None:
    """1.5 GB as a sparse file: the caps and the lint let it through; engines are spared."""
    path = saved(tmp_path, outside("weights.bin", "0", str(1_500_000_000)))
    proto = onnx.load(str(path), load_external_data=False)
    proto.graph.initializer[0].dims[:] = [375_000_000]
    with (path.parent / "weights.bin").open("r+b") as file:
        file.truncate(1_500_000_000)
    assert weights.external(proto, path.parent, hostile.MAX_MB) == pytest.approx(1500)
    weights.payload(proto.graph.initializer[0], path.parent)
