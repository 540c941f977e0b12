"""What a technique depends on is said by measurements, and by nothing else."""

from typing import Any

import pytest
from results import comparison

from hasten.search.evidence import dependence, over_itself


def glance(network: str, speedup: float, reason: str = "", width: float = 0.02) -> dict[str, Any]:
    over = {"value": speedup, "ci95": [speedup - width, speedup + width]}
    speedups = {} if reason else {"onnxruntime": over}
    return {"network": network, "technique": "prune", "reason": reason, "untouched": [], "speedups": speedups}


@pytest.mark.parametrize(
    ("glances", "depends"),
    [
        ([], None),
        ([glance("plain", 2.0), glance("mobile", 2.1)], False),
        ([glance("plain", 2.0), glance("mobile", 1.2)], True),
        ([glance("plain", 2.0, width=0.5), glance("mobile", 1.5, width=0.5)], False),  # nobody can tell
        ([glance("plain", 2.0), glance("recurrent", 0, "no layer can lose channels")], True),
        ([glance("plain", 2.0)], None),
        ([glance("plain", 0, "no"), glance("recurrent", 0, "no layer can lose channels")], None),
    ],
)
def test_the_architecture(glances: list[dict[str, Any]], depends: bool | None) -> None:
    found = {d["technique"]: d for d in dependence(comparison()["rows"], glances)}
    assert list(found) == ["prune", "distil", "half"]
    assert found["prune"]["architecture"]["depends"] is depends
    assert all(g["reason"] in found["prune"]["architecture"]["said"] for g in glances)


def test_the_hardware() -> None:
    """prune is 2.5 times as fast on one engine and 1.5 times on the other, each against itself."""
    rows = comparison()["rows"]
    found = {d["technique"]: d["hardware"] for d in dependence(rows, [])}
    assert found["prune"]["depends"] is True
    assert "2.50 on onnxruntime(threads=2), 1.50 on openvino(threads=2, hint=bf16)" in found["prune"]["said"]
    assert found["half"] == {"depends": None, "said": "measured on fewer than two engines"}
    for row in rows:
        for trial in row["trials"]:
            trial["speedups"] = {trial["engine"]: {"value": 1.1, "ci95": [1.0, 1.2]}}
    assert dependence(rows, [])[0]["hardware"]["depends"] is False


def test_itself_is_the_same_engine_whatever_its_threads() -> None:
    over = {"openvino(threads=2)": 1.0, "openvino(threads=2, hint=bf16)": 2.0}
    assert over_itself({"engine": "openvino(hint=bf16)", "speedups": over}) == 2.0
    assert over_itself({"engine": "onnxruntime(threads=1)", "speedups": over}) is None
