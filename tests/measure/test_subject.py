"""What is timed and how, on an engine whose speed is known; in this process, no child needed."""

import gc
from pathlib import Path

import numpy as np
import pytest
from known import CLOCK, HELD_UP, Known

from hasten import find
from hasten.errors import InputError
from hasten.measure import subject
from hasten.measure.subject import DROP_S, LONGEST_S, SAMPLES, SHORTEST_S, Subject
from hasten.model import OnnxModel


@pytest.fixture
def compiled(net: Path, feed: Path, monkeypatch: pytest.MonkeyPatch):
    """Subject(settings): a compiled one of the known engine."""
    monkeypatch.setattr(find, "engine", lambda name: {"known": Known}[name])
    monkeypatch.setattr(subject, "time", CLOCK)

    def make(signature: OnnxModel | None = None, call_ms: float = 0.5, **settings: object) -> Subject:
        made = Subject()
        settings["call_ms"] = call_ms
        said = (signature or OnnxModel.load(net)).signature.to_json()
        made.compile(str(net), "known", settings, said, str(feed))
        return made

    return make


def calls(made: Subject) -> list:
    return made._session.compiled.seen


def test_times_are_those_of_calls(compiled):
    times = compiled(call_ms=2.0).burst(drop=5, keep=10)
    assert len(times) == 10
    assert times == pytest.approx([2.0] * 10, rel=1e-3)


def test_the_first_calls_of_a_burst_are_dropped(compiled):
    made = compiled(call_ms=2.0)
    before = len(calls(made))
    kept = made.burst(drop=5, keep=10)
    assert len(calls(made)) - before == len(kept) + 20  # 5 were asked for, and what another left behind takes 40 ms


def test_a_slow_model_has_short_bursts(compiled):
    made = compiled(call_ms=500.0)
    before, began = len(calls(made)), CLOCK.perf_counter()
    assert made.burst(drop=5, keep=34) == pytest.approx([500.0])
    assert len(calls(made)) - before == 2  # one dropped, one kept
    assert CLOCK.perf_counter() - began == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("call_ms", "dropped", "kept"), [(0.02, 2000, 1000), (1.0, 40, 34), (10.0, 5, 20), (30.0, 4, 7)]
)
def test_a_burst_is_bounded_in_calls_and_in_time(compiled, call_ms: float, dropped: int, kept: int):
    made = compiled(call_ms=call_ms)
    before = len(calls(made))
    assert len(made.burst(drop=5, keep=34)) == pytest.approx(kept, rel=0.01)
    assert len(calls(made)) - before == pytest.approx(dropped + kept, rel=0.01)
    assert kept * call_ms / 1e3 <= LONGEST_S + call_ms / 1e3
    assert dropped * call_ms / 1e3 <= DROP_S + call_ms / 1e3
    assert kept >= 34 or kept * call_ms / 1e3 >= SHORTEST_S


def test_calls_rotate_through_real_samples(compiled, feed: Path):
    made = compiled(call_ms=0.5)
    calls(made).clear()
    made.burst(drop=0, keep=2 * SAMPLES)
    firsts = np.load(feed / "image.npy")[:, 0, 0, 0]
    used = [value for _, value in calls(made)]
    assert len(set(used)) == SAMPLES
    assert set(used) <= {float(v) for v in firsts}
    assert used[:SAMPLES] == used[SAMPLES : 2 * SAMPLES]


def test_no_garbage_is_collected_within_a_burst(compiled):
    made = compiled(call_ms=0.1)
    inner, collected = made._session.compiled.run, []
    made._session.compiled.run = lambda feed: (inner(feed), [[] for _ in range(2000)])  # sets collections off
    gc.callbacks.append(lambda phase, info: collected.append(phase))
    try:
        made.burst(drop=0, keep=100)
        within = len(collected)
        made._session.compiled.run(next(made._feeds))
    finally:
        gc.callbacks.pop()
    assert within == 0 < len(collected)


def test_warm_up_goes_on_until_calls_are_stable(compiled):
    made = compiled(call_ms=0.3, first_ms=3.0)
    assert len(calls(made)) > HELD_UP
    assert made.burst(drop=0, keep=10)[0] == pytest.approx(0.3, rel=1e-3)


def test_warm_up_of_a_model_that_never_settles_ends(compiled, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(subject, "STABLE", -1.0)
    began = CLOCK.perf_counter()
    compiled(call_ms=1.0)
    assert CLOCK.perf_counter() - began == pytest.approx(subject.WARM_S, rel=0.1)


def test_throughput_finds_the_best_batch(compiled):
    """A call takes 2 ms whatever its batch: the largest that runs is best."""
    assert compiled(call_ms=2.0).throughput() == (pytest.approx(32_000, rel=1e-3), 64)
    assert compiled(call_ms=2.0, largest=5).throughput() == (pytest.approx(2_000, rel=1e-3), 4)


def test_throughput_of_a_fixed_batch(compiled):
    from graphs import network

    made = compiled(OnnxModel(network(batch=8)), call_ms=2.0)
    assert {n for n, _ in calls(made)} == {8}
    assert made.throughput() == (pytest.approx(4_000, rel=1e-3), 8)


def test_throughput_of_a_model_that_always_fails_is_an_error(compiled):
    made = compiled()
    made._session.compiled.engine = Known(largest=0)
    with pytest.raises(InputError, match="too many"):
        made.throughput()


def test_throughput_keeps_within_its_time(compiled):
    made = compiled(call_ms=300.0)
    began = CLOCK.perf_counter()
    made.throughput()
    assert CLOCK.perf_counter() - began < 1.5 * subject.THROUGHPUT_S


def test_layers_are_shown(compiled):
    said = compiled().layers()
    assert said["int8_share"] == 0.5
    assert said["layers"][0] == {"name": "c", "op": "Conv", "precision": "i8", "heavy": True, "of": ()}


@pytest.mark.parametrize(("length", "expected"), [(1, [0]), (3, [0, 1, 2]), (100, [0, 49, 99])])
def test_samples_are_spread(length: int, expected: list):
    assert subject._spread(length, 3) == expected
