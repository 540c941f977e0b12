"""The claims: rules that can say yes and no, weights of few bits, and a page that says what its JSON says."""

import json
from importlib import import_module
from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import network

import claims
from claimed import Figure
from claimed._rounded import few, rounded
from claims import NAMES, said
from claims_page import KEPT, PAGE, merged, rendered
from hasten.model import OnnxModel

YES, NO = "holds", "does not hold"


def figures(kind: str, *values: tuple[str, float, float, float]) -> list[Figure]:
    return [Figure(of, value, low, high, kind) for of, value, low, high in values]  # type: ignore[arg-type]


def bits(at_8: float, at_4: float) -> list[Figure]:
    drops = {8: at_8, 6: at_8, 4: at_4, 3: at_4, 2: 50.0}
    return figures("points", *((f"net, {b} bits", d, d - 0.1, d + 0.1) for b, d in drops.items()))


CASES = {
    "int8_speed": (
        figures("times", ("a", 2.5, 2.4, 2.6), ("b", 1.9, 1.8, 2.1)),
        figures("times", ("a", 1.5, 1.4, 1.6), ("b", 5.0, 4.5, 5.5)),
        figures("times", ("a", 2.5, 2.4, 2.6), ("b", 1.5, 1.4, 1.6)),
    ),
    "few_bits": (bits(0.1, 2.0), bits(0.1, 0.1), bits(0.9, 2.0)),
    "depth": tuple(
        figures("points", ("shallowest less deepest, 4 bits", *gap))
        for gap in ((1.0, 0.2, 1.8), (-1.0, -1.8, -0.2), (1.0, -0.1, 2.0))
    ),
    "trained_int8": (
        figures("points", ("a", 0.5, 0.2, 0.8), ("b", -0.1, -0.3, 0.1)),
        figures("points", ("a", -0.5, -0.8, -0.2), ("b", -0.3, -0.4, -0.2)),
        figures("points", ("a", 0.5, 0.2, 0.8), ("b", -0.3, -0.4, -0.2)),
    ),
    "sparsity": (
        figures("times", ("a", 1.0, 0.9, 1.2), ("b", 1.05, 1.0, 1.1)),
        figures("times", ("a", 2.0, 1.9, 2.1), ("b", 1.2, 1.15, 1.3)),
        figures("times", ("a", 1.0, 0.9, 1.1), ("b", 1.2, 1.15, 1.3)),
    ),
    "student": (
        figures("times", ("a", 1.0, 0.9, 1.1), ("b", 0.85, 0.7, 1.0)),
        figures("times", ("a", 0.5, 0.4, 0.6), ("b", 1.5, 1.4, 1.6)),
        figures("times", ("a", 0.5, 0.4, 0.6), ("b", 1.0, 0.9, 1.1)),
    ),
    "dependence": tuple(
        [*figures("yes", ("a, hardware", x, x, x), ("b, hardware", y, y, y)), Figure("c", None, None, None, "yes")]
        for x, y in ((1.0, 1.0), (0.0, 0.0), (0.0, 1.0))
    ),
    "together": (
        figures("times", ("a", 1.5, 1.4, 1.6), ("b", 1.2, 1.1, 1.3)),
        figures("times", ("a", 0.9, 0.8, 1.0), ("b", 0.0, 0.0, 0.0)),
        figures("times", ("a", 1.5, 1.4, 1.6), ("b", 1.0, 0.9, 1.1)),
    ),
}  # fmt: skip


def test_every_claim_has_its_cases() -> None:
    assert set(CASES) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_can_say_yes_no_and_neither(name: str) -> None:
    claim = import_module(f"claimed.{name}")
    assert [claim.verdict(found) for found in CASES[name]] == [YES, NO, "depends"]
    assert claim.CLAIM
    assert "It holds if" in claim.RULE
    assert "does not hold" in claim.RULE


def test_few_bits_are_few_values() -> None:
    weight = np.random.default_rng(0).normal(size=(6, 4, 3, 3)).astype(np.float32)
    errors = []
    for bits_ in (8, 4, 3, 2):
        made = few(weight, 0, bits_)
        assert made.dtype == np.float32
        assert max(len(np.unique(row.round(6))) for row in made.reshape(6, -1)) <= 2**bits_ - 1
        errors.append(float(np.abs(made - weight).mean()))
    assert errors == sorted(errors)
    assert errors[0] < 0.01
    np.testing.assert_array_equal(few(np.moveaxis(weight, 0, 3), 3, 4), np.moveaxis(few(weight, 0, 4), 0, 3))


def test_weights_are_rounded_and_nothing_else_is() -> None:
    model = OnnxModel(network())
    made = rounded(model, 2)
    before, after = ({w.name: onnx.numpy_helper.to_array(w) for w in m.proto.graph.initializer} for m in (model, made))
    assert len(np.unique(after["w2"][0].round(6))) <= 3
    assert len(np.unique(before["w2"][0].round(6))) > 3
    assert [n.op_type for n in made.proto.graph.node] == [n.op_type for n in model.proto.graph.node]


def test_a_claim_that_was_judged_is_not_judged_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = import_module("claimed.few_bits")
    asked: list[str] = []

    def measured() -> list[Figure]:
        asked.append("once")
        return bits(0.1, 2.0)

    monkeypatch.setattr(claim, "prepare", lambda: None)
    monkeypatch.setattr(claim, "figures", measured)
    kept = tmp_path / "few_bits.json"
    first = claims.judged("few_bits", kept)
    assert (first["verdict"], json.loads(kept.read_text())["figures"][0]["unit"]) == (YES, "points")
    assert claims.judged("few_bits", kept) == first
    assert asked == ["once"]
    kept.write_text(kept.read_text().replace(first["key"]["source"], "another file"))
    claims.judged("few_bits", kept)
    assert len(asked) == 2


def test_the_page_says_what_its_json_says() -> None:
    result = json.loads(KEPT.read_text())
    assert PAGE.read_text() == rendered(result)
    for claim in result["claims"]:
        judge = import_module(f"claimed.{claim['name']}")
        assert claim["verdict"] == judge.verdict([Figure(**f) for f in claim["figures"]])
        assert (claim["claim"], claim["rule"]) == (judge.CLAIM, judge.RULE)


def test_what_is_new_takes_the_place_of_what_is_kept() -> None:
    kept = {"conditions": 0, "claims": [{"name": "a", "verdict": YES}, {"name": "b", "verdict": YES}]}
    new = {"conditions": 1, "claims": [{"name": "b", "verdict": NO}]}
    assert merged(kept, new) == {"conditions": 1, "claims": [kept["claims"][0] | {"conditions": 0}, new["claims"][0]]}


def test_a_figure_is_a_line() -> None:
    line = said({"of": "a", "value": 0.5, "low": 0.25, "high": 0.75, "unit": "points", "said": "b"})
    assert line == "a: +0.50 [+0.25, +0.75]; b"
    assert said({"of": "a", "value": None, "low": None, "high": None, "unit": "yes", "said": "b"}) == "a: not known; b"
