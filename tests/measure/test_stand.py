"""A stand end to end: a real engine in a real child."""

import os
from pathlib import Path

import numpy as np
import pytest

from hasten.child import ChildDied
from hasten.errors import InputError, UsageError
from hasten.measure import machine
from hasten.measure.latency import race
from hasten.measure.stand import Entrant, Stand


@pytest.fixture(scope="module")
def stand(net: Path, feed: Path):
    with Stand(Entrant(net, "onnxruntime", {"threads": 1}), feed) as one:
        yield one


def test_it_is_timed_in_a_process_of_its_own_and_pinned(stand: Stand):
    times = stand.burst(drop=5, keep=40)
    assert len(times) >= 40
    assert min(times) > 0
    pid = stand._child.pid
    assert pid != os.getpid()
    assert os.sched_getaffinity(pid) == set(machine.cpus(1))


def test_its_answers_are_the_engine_s(stand: Stand, feed: Path, net: Path, tmp_path: Path):
    import onnxruntime

    images = np.load(feed / "image.npy")
    expected = onnxruntime.InferenceSession(net).run(None, {"image": images})
    found = stand.answers(feed, tmp_path / "out")
    assert list(found) == ["scores", "best"]
    np.testing.assert_allclose(found["scores"], expected[0], rtol=1e-4, atol=1e-5)
    assert (found["best"] == expected[1]).all()
    assert isinstance(found["scores"], np.memmap)


def test_its_facts(stand: Stand):
    assert stand.facts["compile_s"] > 0
    assert stand.facts["precision"] == "f32"
    assert stand.facts["int8_share"] == 0
    assert any(layer["heavy"] for layer in stand.facts["layers"])


def test_its_throughput_and_memory(stand: Stand):
    per_s, batch = stand.throughput()
    assert per_s > 100
    assert batch in (1, 2, 4, 8, 16, 32, 64)
    assert 10 < stand.peak_memory_mb() < 1000


def test_a_race_of_copies_with_relaunches(net: Path, feed: Path):
    entrant = Entrant(net, "onnxruntime", {"threads": 1})
    with Stand(entrant, feed) as a, Stand(entrant, feed) as b:
        before = {a._child.pid, b._child.pid}
        result = race([a, b], rounds=4, launches=2)
        assert not before & {a._child.pid, b._child.pid}
    assert result.latency(0).samples > 4 * 34
    assert result.speedup(1, over=0).low <= result.speedup(1, over=0).value <= result.speedup(1, over=0).high


def test_a_task_file_is_timed_as_it_was_trained(feed: Path, tmp_path: Path):
    """Its own data is large: the memory that it takes is not the model's."""
    (tmp_path / "task.py").write_text("""
import numpy as np, torch
from hasten import Data, Task
def data():
    return Data({"image": np.ones((40_000, 1, 8, 8), np.float32).repeat(40, 0)[:1_600_000]})
task = Task("t", lambda: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 4)), "agreement", calibrate=data)
""")
    with Stand(Entrant(tmp_path / "task.py", "torch", {"threads": 1, "memory_format": "channels_last"}), feed) as stand:
        assert stand.entrant.label == "task on torch(threads=1, memory_format=channels_last)"
        assert len(stand.burst(drop=1, keep=5)) >= 5
        assert stand.facts["int8_share"] is None
        assert stand.answers(feed, tmp_path / "out")["output"].shape == (45, 4)
        assert stand.peak_memory_mb() < 400  # the data alone has 410


def test_what_cannot_be_compiled_is_an_error_and_leaves_no_process(net: Path, feed: Path, tmp_path: Path):
    before = children()
    with pytest.raises(UsageError, match="did you mean 'onnxruntime'"):
        Stand(Entrant(net, "onnxruntimes", {}), feed)
    (tmp_path / "task.py").write_text(f"""
from pathlib import Path
from hasten import Task
task = Task("t", Path({str(net)!r}), "top1")
""")
    with pytest.raises(InputError, match="give that file itself"):
        Stand(Entrant(tmp_path / "task.py", "torch", {}), feed)
    with pytest.raises(InputError, match="takes a torch model"):
        Stand(Entrant(net, "torch", {}), feed)
    assert children() == before


def test_a_closed_stand_says_so(net: Path, feed: Path):
    stand = Stand(Entrant(net, "onnxruntime", {"threads": 1}), feed)
    stand.close()
    stand.close()
    with pytest.raises(ChildDied, match="has ended"):
        stand.burst(1, 1)


def children() -> set[str]:
    """Process ids of this process's children."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())
