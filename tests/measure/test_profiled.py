"""What goes wrong with an account of layers costs nothing but that account."""

from types import SimpleNamespace
from typing import Any

import pytest
from graphs import network

from hasten.child import ChildDied
from hasten.errors import MissingError
from hasten.measure import profiled as module
from hasten.measure.profiled import profiled
from hasten.model import OnnxModel

LAYERS = {
    "layers": [{"name": "c", "op": "Conv", "precision": "f32", "heavy": True, "of": ["c"], "ms": 1.0}],
    "plain_ms": 1.0,
    "call_ms": 1.2,
}


def stand(found: Any) -> Any:
    def profile(seconds: float) -> Any:
        if isinstance(found, Exception):
            raise found
        return found

    return SimpleNamespace(profile=profile, entrant=SimpleNamespace(settings={"threads": 1}))


def reason(found: Any) -> str:
    return str(profiled(stand(found), OnnxModel(network()), {})["reason"])


def test_an_engine_may_keep_silent() -> None:
    assert reason({"layers": [], "plain_ms": 1.0, "call_ms": None}) == module.SILENT


def test_an_engine_may_die_of_it() -> None:
    assert "was killed by SIGSEGV" in reason(ChildDied("the child process was killed by SIGSEGV"))


def test_a_machine_may_have_no_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(threads: int) -> None:
        raise MissingError("no engine here could run what the peaks are measured with", "run hasten doctor")

    monkeypatch.setattr(module, "peaks", none)
    assert "no engine here" in reason(LAYERS)
