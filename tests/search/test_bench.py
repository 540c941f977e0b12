"""The bench: who reaches the final, and what happens when a neighbour disturbs a look."""

from contextlib import ExitStack
from dataclasses import replace
from types import SimpleNamespace

import pytest

from hasten import find
from hasten.measure.latency import Race
from hasten.search import bench
from hasten.search.bench import Bench, finalists_of
from hasten.search.trial import Trial


def trial(engine: str, p50_ms: float, speedup: float = 1.0) -> Trial:
    return Trial("quantize", engine, speedup=speedup, latency_p50_ms=p50_ms)


def test_finalists_are_the_best_by_either_figure() -> None:
    """A reference that was slowed flatters one speedup twofold; the fastest by time are in the final nevertheless."""
    rows = {"flattered": (6.0, 1.0), "fast": (3.0, 0.5), "near": (2.9, 0.52), "third": (2.8, 0.6), "slow": (1.0, 1.5)}
    trials = [trial(name, time, speedup) for name, (speedup, time) in rows.items()]
    assert [t.engine for t in finalists_of(trials)] == ["flattered", "fast", "near", "third"]
    assert finalists_of([]) == []


@pytest.mark.parametrize(
    ("reference_ms", "looks", "kept_ms"), [([1.1], 1, 1.1), ([3.0, 1.2], 2, 1.2), ([3.0, 2.0, 2.5, 1.0], 3, 2.0)]
)
def test_a_disturbed_look_is_taken_again(
    reference_ms: list[float], looks: int, kept_ms: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reference took 1 ms before; a look is kept when it takes about as much, else the quietest of three."""
    taken: list[Race] = []

    def race(stands, launches, seed):
        taken.append(Race([[[[reference_ms[len(taken)]], [0.5]]]]))
        return taken[-1]

    monkeypatch.setattr(bench, "race", race)
    lone = Bench(SimpleNamespace(), SimpleNamespace(), seed=0)
    lone.references = [(trial("reference", 1.0), SimpleNamespace())]
    assert lone._undisturbed(lone.references, SimpleNamespace()).latency(0).p50_ms == kept_ms
    assert len(taken) == looks


def test_finalists_choose_their_threads_in_the_race(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweep said 1 thread after one launch; over several launches 2 are faster, and that is what is chosen."""
    monkeypatch.setattr(bench.machine, "threads", lambda: 2)
    entered: list[str] = []

    def race(stands, launches, seed):
        assert launches == bench.CHOOSING
        return Race([[[[2.0 if "threads=1" in name else 1.0] for name in entered]]])

    def stand(self, trial):
        entered.append(trial.engine)
        return ExitStack()

    monkeypatch.setattr(bench, "race", race)
    monkeypatch.setattr(Bench, "stand", stand)
    lone = Bench(SimpleNamespace(), SimpleNamespace(), seed=0)
    swept = find.engine("onnxruntime")(threads=1)
    lone._engines[str(swept)] = swept
    won = lone._chosen([trial(str(swept), 2.0)])
    assert len(entered) == 2
    assert lone.engine(won) == replace(swept, threads=2)
