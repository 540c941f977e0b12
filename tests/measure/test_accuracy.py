"""Answers to whole data sets: every sample once, as a single call answers it."""

from pathlib import Path

import numpy as np
import pytest
from graphs import network
from known import Known

from hasten.data import Data
from hasten.engine import Session
from hasten.errors import InputError
from hasten.measure.accuracy import answer
from hasten.model import OnnxModel


def answered(
    feed: Path, out: Path, batch: int | str = "N", **settings: object
) -> tuple[dict[str, np.ndarray], list[int]]:
    """Outputs by name, and the sizes of the calls."""
    session = Known(**settings).compile(OnnxModel(network(batch)))
    names = answer(session, Data.load(feed), out)
    sizes = [n for n, _ in session.compiled.seen]
    return {name: np.load(out / f"{i}.npy") for i, name in enumerate(names)}, sizes


def expected(feed: Path) -> np.ndarray:
    return np.load(feed / "image.npy").reshape(45, 4, 16).sum(2)


@pytest.mark.parametrize("batch", ["N", 1, 8, 64])
def test_every_sample_is_answered_once_in_order(batch: int | str, feed: Path, tmp_path: Path):
    """45 samples: no multiple of any batch, and fewer than one of them."""
    found, sizes = answered(feed, tmp_path / "out", batch)
    assert list(found) == ["scores", "best"]
    np.testing.assert_allclose(found["scores"], expected(feed), rtol=1e-5)
    assert (found["best"] == found["scores"].argmax(1)).all()
    assert batch == "N" or set(sizes) == {batch}


def test_batches_are_used_where_they_answer_alike(feed: Path, tmp_path: Path):
    _, sizes = answered(feed, tmp_path / "out")
    assert sizes[-2:] == [32, 13]


def test_a_scale_taken_from_the_batch_is_not_scored(feed: Path, tmp_path: Path):
    found, sizes = answered(feed, tmp_path / "out", whole_batch=True)
    single = expected(feed) - expected(feed).mean(1, keepdims=True)
    np.testing.assert_allclose(found["scores"], single, rtol=1e-4, atol=1e-4)
    assert sizes[-45:] == [1] * 45


def test_old_answers_are_replaced_whole(feed: Path, tmp_path: Path):
    first, _ = answered(feed, tmp_path / "out")
    np.save(tmp_path / "out" / "7.npy", np.zeros(3))
    second, _ = answered(feed, tmp_path / "out")
    assert (first["scores"] == second["scores"]).all()
    assert sorted(p.name for p in tmp_path.rglob("*.npy")) == ["0.npy", "1.npy"]


class Answering:
    """A session whose answers are given: of the samples of a call, and of how many calls there were."""

    def __init__(self, reply, batch: int | str) -> None:
        self.reply, self.signature, self.calls = reply, OnnxModel(network(batch)).signature, 0

    def __call__(self, feed):
        self.calls += 1
        return {"scores": self.reply(len(feed["image"]), self.calls)}


@pytest.mark.parametrize("batch", ["N", 32])
@pytest.mark.parametrize(
    "reply",
    [lambda n, calls: np.zeros((4, n), np.float32), lambda n, calls: np.float32(0)],
    ids=["samples last", "one for all"],
)
def test_answers_without_a_row_a_sample_are_refused(reply, batch: int | str, feed: Path, tmp_path: Path):
    with pytest.raises(InputError, match="first axis"):
        answer(Answering(reply, batch), Data.load(feed), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_answers_of_different_shapes_are_refused(feed: Path, tmp_path: Path):
    with pytest.raises(InputError, match="changes its shape"):
        answer(Answering(lambda n, calls: np.zeros((n, calls)), 32), Data.load(feed), tmp_path / "out")


def test_of_one_sample(tmp_path: Path):
    one = Data({"image": np.ones((1, 1, 8, 8), np.float32)})
    session: Session = Known().compile(OnnxModel(network()))
    answer(session, one, tmp_path / "out")
    assert np.load(tmp_path / "out" / "0.npy").tolist() == [[16.0] * 4]
