"""The schemas say what the code says: the same fields, the same choices; and the page names every key."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from jsonschema import Draft202012Validator

from hasten import manifest
from hasten.answer import Answer
from hasten.errors import InputError
from hasten.golden import Case, Golden
from hasten.measure.machine import conditions
from hasten.model import Signature, Tensor
from hasten.pipeline import Pipeline, Prepare, Window
from hasten.search.trial import Trial
from hasten.stage import Stage, Unless

SPEC = Path(__file__).parents[2] / "spec"
BUNDLE, COMPARISON, GOLDEN, RESULT = (manifest.schema(n) for n in ("bundle", "comparison", "golden", "result"))


@pytest.mark.parametrize("name", ["bundle", "comparison", "golden", "result"])
def test_is_a_schema(name):
    Draft202012Validator.check_schema(json.loads((SPEC / f"{name}.schema.json").read_text()))


def objects(schema: Any, at: str = "$") -> list[tuple[str, dict[str, Any]]]:
    """Every object with named properties in a schema, and where it stands."""
    found = (
        [(at, schema)] if isinstance(schema, dict) and schema.get("type") == "object" and "properties" in schema else []
    )
    parts = schema.items() if isinstance(schema, dict) else enumerate(schema) if isinstance(schema, list) else ()
    return found + [inner for key, value in parts for inner in objects(value, f"{at}.{key}")]


@pytest.mark.parametrize(
    "schema", [BUNDLE, COMPARISON, GOLDEN, RESULT], ids=["bundle", "comparison", "golden", "result"]
)
def test_every_object_is_closed_and_whole(schema):
    """Two are open on purpose: an engine's settings are its own, and conditions may grow."""
    for at, part in objects(schema):
        if at.endswith((".settings", "$defs.conditions")):
            continue
        assert part["additionalProperties"] is False, at
        assert set(part["required"]) == set(part["properties"]), at


@pytest.mark.parametrize(
    ("kind", "schema"),
    [
        (Prepare, BUNDLE["$defs"]["prepare"]),
        (Window, BUNDLE["$defs"]["window"]),
        (Answer, BUNDLE["$defs"]["answer"]),
        (Pipeline, BUNDLE["$defs"]["pipeline"]),
        (Tensor, BUNDLE["$defs"]["tensor"]),
        (Signature, BUNDLE["$defs"]["signature"]),
        (Stage, BUNDLE["$defs"]["stage"]),
        (Unless, BUNDLE["$defs"]["stage"]["properties"]["unless"]["anyOf"][1]),
        (Golden, GOLDEN),
        (Case, GOLDEN["$defs"]["case"]),
        (Trial, RESULT["$defs"]["row"]),
    ],
)
def test_a_noun_and_its_schema_have_the_same_fields(kind, schema):
    hints = get_type_hints(kind)
    assert set(schema["properties"]) == {f.name for f in fields(kind)}
    for name, part in schema["properties"].items():
        part = (
            BUNDLE["$defs"][part["$ref"].rpartition("/")[2]] if part.get("$ref", "").endswith("/activation") else part
        )
        if get_origin(hints[name]) is Literal:
            assert part["enum"] == list(get_args(hints[name])), name


def test_every_key_is_on_the_page():
    page = (SPEC / "bundle.md").read_text()
    for key in (
        *BUNDLE["properties"],
        *BUNDLE["$defs"]["stage"]["properties"],
        *GOLDEN["properties"],
        *GOLDEN["$defs"]["case"]["properties"],
    ):
        assert f"`{key}" in page or f"<{key}>" in page or key == "cases", key


def test_every_field_of_a_row_is_described():
    for name, part in RESULT["$defs"]["row"]["properties"].items():
        assert len(part["description"]) > 10 or name == "engine", name


def result() -> dict[str, Any]:
    """A result with one baseline, one trial that failed and a winner."""
    original = Trial("as it is", "torch", "baseline", precision="f32", speedup=1.0, accuracy=0.9, accuracy_drop=0.0)
    won = Trial(
        "quantize", "onnxruntime(threads=2)", "kept", precision="int8", int8_share=1.0, params=10, macs=100,
        size_mb=0.1, latency_p50_ms=0.5, latency_p90_ms=0.6, throughput_per_s=2000.0, throughput_batch=8,
        peak_memory_mb=90.0, accuracy=0.9, accuracy_drop=-0.01, accuracy_drop_ci95=(-0.02, 0.0), n_samples=200,
        split="test", speedup=2.0, speedup_ci95=(1.9, 2.1), speedups={"torch": {"value": 2.0, "ci95": [1.9, 2.1]}},
        seconds_spent=3.0,
    )  # fmt: skip
    lost = Trial("half", "openvino", "failed", "it refuses the model")
    return json.loads(json.dumps({
        "format": 1, "task": "t", "command": "hasten boost t.py -o out", "max_drop": 0.01, "verdict": "it won",
        "metric": {"name": "top1", "higher_is_better": True}, "baselines": [original.to_json()],
        "winner": won.to_json(), "trials": [won.to_json(), lost.to_json()], "conditions": conditions(0),
    }))  # fmt: skip


def test_a_result_fits():
    manifest.validate(result(), "result", Path("out.json"))
    manifest.validate(result() | {"winner": None}, "result", Path("out.json"))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("speedup_ci95", [1.0], "is too short"),
        ("status", "won", "is not one of"),
        ("latency_p50_ms", -1, "less than the minimum"),
        ("n_samples", 1.5, "is not of type 'integer'"),
        ("int8_share", 1.5, "greater than the maximum"),
        ("accuracy", "high", "is not of type 'number', 'null'"),
        ("top1", 0.9, "'top1' was unexpected"),
    ],
)
def test_a_result_that_does_not_fit(key, value, said):
    made = result()
    made["winner"][key] = value
    made["trials"][0][key] = value
    with pytest.raises(InputError, match=said):
        manifest.validate(made, "result", Path("out.json"))
