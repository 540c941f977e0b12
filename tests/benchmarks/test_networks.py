"""The networks of the comparison: labels that are true, checkpoints that are trained, a mask that masks."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from networks import NAMES
from networks.constants import hold_in_constants
from networks.export import accuracy, recall
from networks.sequences import CHECKPOINT as LINES_CHECKPOINT
from networks.sequences import KINDS, Sequences, lines
from networks.tones import CHECKPOINT as TONES_CHECKPOINT
from networks.tones import Tones, chords


def test_every_network_is_a_file() -> None:
    folder = Path(__file__).parents[2] / "benchmarks" / "networks"
    assert set(NAMES) == {f.stem for f in folder.glob("*.py")} - {"__init__", "export"}


def test_the_label_of_a_line_is_its_most_frequent_kind() -> None:
    data = lines(50, 7)
    for tokens, length, target in zip(data["tokens"], data["length"], data["target"], strict=True):
        counts = np.bincount(tokens[:length] % KINDS, minlength=KINDS)
        assert counts[target] == counts.max()
        assert (counts == counts.max()).sum() == 1


def test_the_same_seed_gives_the_same_samples() -> None:
    first, again, other = chords(20, 1), chords(20, 1), chords(20, 2)
    assert all(np.array_equal(first[k], again[k]) for k in first)
    assert not np.array_equal(first["wave"], other["wave"])


@torch.inference_mode()
def test_the_transformer_is_blind_to_padding_and_not_to_the_rest() -> None:
    net = recall(Sequences(), LINES_CHECKPOINT)
    data = lines(32, 8)
    tokens, length = torch.from_numpy(data["tokens"]), torch.from_numpy(data["length"])
    padding = torch.arange(tokens.shape[1])[None, :] >= length[:, None]
    other = (tokens + 1) % 64
    before = net(tokens, length)
    torch.testing.assert_close(net(torch.where(padding, other, tokens), length), before)
    assert (net(torch.where(padding, tokens, other), length) - before).abs().max() > 1


@pytest.mark.parametrize(
    ("net", "checkpoint", "samples", "least"),
    [(Sequences, LINES_CHECKPOINT, lines, 90.0), (Tones, TONES_CHECKPOINT, chords, 90.0)],
)
def test_the_checkpoints_are_trained(net: type, checkpoint: Path, samples: object, least: float) -> None:
    assert accuracy(recall(net(), checkpoint), samples(300, 2)) >= least  # type: ignore[operator]


def test_weights_in_constants_leave_the_answers_as_they_are(tiny_onnx: Path, tmp_path: Path) -> None:
    path = tmp_path / "held.onnx"
    path.write_bytes(tiny_onnx.read_bytes())
    hold_in_constants(path)
    graph = onnx.load(path).graph
    assert not graph.initializer
    assert sum(n.op_type == "Constant" for n in graph.node) >= 4
    feed = {"image": np.random.default_rng(0).normal(size=(3, 1, 8, 8)).astype(np.float32)}
    before, after = (onnxruntime.InferenceSession(str(p)).run(None, feed)[0] for p in (tiny_onnx, path))
    np.testing.assert_array_equal(before, after)
