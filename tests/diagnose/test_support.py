"""hasten check agrees with what each engine really does, on sixty models of one operator each."""

from collections import Counter
from pathlib import Path

import pytest

from engine_truth import TRUTH
from hasten import files
from hasten.diagnose.probing import probed
from hasten.diagnose.single import Single, settled, singles
from hasten.diagnose.support import target_named
from hasten.diagnose.target import Told
from hasten.model import OnnxModel
from single_ops import EVERYDAY, inputs_of, models

MODELS = {name: model for name, model in models().items() if name not in EVERYDAY}
LEAST = 60
SEEN = {  # that each engine is seen to do
    "onnxruntime": {"native", "falls back", "refused"},
    "openvino": {"native", "falls back", "refused"},
    "tensorrt": {"native", "falls back", "refused"},
}


def cut(model: OnnxModel) -> Single:
    feed = inputs_of(model)
    (found,) = singles(OnnxModel(settled(model.proto, feed)), feed)
    return found


@pytest.fixture(scope="module")
def cuts() -> dict[str, Single]:
    return {name: cut(model) for name, model in MODELS.items()}


@pytest.fixture(scope="module", params=sorted(TRUTH))
def asked(request: pytest.FixtureRequest, cuts: dict[str, Single]) -> tuple[str, dict[str, Told]]:
    """A target, and what it says of each model."""
    kind = target_named(request.param)
    assert kind.missing() is None, "the tests need every engine: make install"
    return request.param, dict(zip(cuts, kind().told(list(cuts.values())), strict=True))


def test_it_says_what_the_engine_does(asked: tuple[str, dict[str, Told]]) -> None:
    target, told = asked
    truth = {name: TRUTH[target](model, inputs_of(model)) for name, model in MODELS.items()}
    assert len(truth) >= LEAST
    assert set(truth.values()) == SEEN[target], Counter(truth.values())
    assert {name: t.word for name, t in told.items()} == truth


def test_what_is_not_native_has_a_reason(asked: tuple[str, dict[str, Told]]) -> None:
    """And no path of this machine, or line of somebody's source, in it."""
    for told in asked[1].values():
        assert bool(told.why) == (told.word != "native")
        assert "\n" not in told.why
        assert "/" not in told.why


def test_the_silent_antialias_of_openvino_is_told_by_name(cuts: dict[str, Single]) -> None:
    (told,) = target_named("openvino")().told([cuts["resize-antialias"]])
    assert told.word == "refused"
    assert told.why.startswith("answers differ from ONNX Runtime's")
    assert told.why.endswith("it ignores the attribute antialias")


def test_answers_are_remembered_by_version(cuts: dict[str, Single], monkeypatch: pytest.MonkeyPatch) -> None:
    some = [cuts["relu"], cuts["det"]]
    target = target_named("onnxruntime")()
    first = target.told(some)
    kept = list((files.cache_folder() / "check").glob("onnxruntime-*-CPUExecutionProvider*.json"))
    assert len(kept) == 1
    assert some[0].key in files.remembered(kept[0])
    monkeypatch.setattr("hasten.diagnose.probing._Asking.told", None)  # nobody is asked again
    assert target.told(some) == first
    monkeypatch.setattr("hasten.engines.onnxruntime.OnnxRuntime.version", lambda: "other")
    with pytest.raises(TypeError):
        target.told(some)


def test_equal_nodes_are_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 0

    def told(self: object, single: Single) -> Told:
        nonlocal count
        count += 1
        return Told("native")

    monkeypatch.setattr("hasten.diagnose.probing._Asking.told", told)
    twice = [cut(MODELS["relu"]), cut(MODELS["relu"]), cut(MODELS["abs"])]
    assert len(probed(twice, "nobody:Nobody", "counted")) == 3
    assert count == 2


class Hostile:
    """An engine that ends its process, or never ends."""

    def probe(self, path: str, **rest: object) -> dict[str, str]:
        import os
        import time

        if b"Relu" in Path(path).read_bytes():
            os._exit(7)
        if b"Tanh" in Path(path).read_bytes():
            time.sleep(60)
        return {"word": "native", "why": ""}


def test_an_engine_that_crashes_or_hangs_is_survived(cuts: dict[str, Single], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setattr("hasten.diagnose.probing.LIMIT_S", 3.0)
    three = [cuts["relu"], cuts["tanh"], cuts["abs"]]
    crashed, hung, fine = probed(three, "test_support:Hostile", "hostile")
    assert crashed == Told("refused", "the engine ended with exit code 7 on it")
    assert hung == Told("refused", "the engine took longer than 3 s on it")
    assert fine == Told("native")
    kept = files.remembered(next((files.cache_folder() / "check").glob("hostile*")))
    assert set(kept) == {cuts["abs"].key}  # it may have been the machine
