"""The page of a measurement: its picture is right, in a real browser, by what the JSON says."""

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import browser
from results import result
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from hasten.graph.fuse import by_engine
from hasten.manifest import validate
from hasten.report.measured import page
from hasten.report.roof import picture
from hasten.report.roofline import COLUMNS, TOP, roofline_tables

HOSTILE = "</script><script>alert(1)</script><b>&'\""
PEAKS = {
    "threads": 2,
    "operations": {"f32": 2e11, "bf16": 4e11, "int8": 8e11},
    "layers": {"f32": "product on openvino", "bf16": "product on openvino", "int8": "convolution on onnxruntime"},
    "read": {"L1": 3e11, "L2": 1e11, "memory": 2e10},
    "copy": {"L1": 2e11, "L2": 8e10, "memory": 1.5e10},
    "holds": {"L1": 98304, "L2": 4194304},
}


def layers(count: int) -> list[dict[str, Any]]:
    """Convolutions of several sizes, and after each third a layer without arithmetic."""
    rng = np.random.default_rng(count)
    made: list[dict[str, Any]] = []
    for i in range(count):
        still = i % 3 == 2
        macs, moved, ms = (
            (0 if still else int(rng.integers(10**4, 10**8))),
            int(rng.integers(10**3, 10**7)),
            rng.random(),
        )
        made.append(
            {
                "layer": f"layer{i}", "op": "Concat" if still else "Convolution", "precision": "f32",
                "of": [f"node{i}", f"relu{i}"], "ops": ["Concat"] if still else ["Conv", "Relu"],
                "modules": [f"stage{i}.{HOSTILE}"], "ms": ms, "share": 0.0, "macs": macs, "operations": 2 * macs,
                "bytes": moved, "per_s": 2 * macs / ms * 1e3, "bytes_per_s": moved / ms * 1e3,
                "utilization": 1.25 if i == 0 else rng.random(), "bound": ("compute", "memory", "overhead")[i % 3],
            }
        )  # fmt: skip
    whole = sum(layer["ms"] for layer in made)
    return [layer | {"share": layer["ms"] / whole} for layer in made]


def row(engine: str, count: int) -> dict[str, Any]:
    found = layers(count)
    whole = sum(layer["ms"] for layer in found)
    return {
        "engine": engine, "reason": "", "precision": "f32", "params": 1000, "macs": 2000, "size_mb": 1.5,
        "int8_share": None, "latency_p50_ms": 1.5, "latency_p90_ms": 1.6, "latency_p99_ms": None,
        "throughput_per_s": 900.0, "throughput_batch": 8, "peak_memory_mb": 120.0,
        "energy": {"reason": "energy: nothing is known"}, "cost": None,
        "roofline": {
            "reason": "", "layers": found, "fused": by_engine(found), "uncounted": [], "sum_ms": whole,
            "plain_ms": whole, "profiled_ms": 1.1 * whole, "peaks": PEAKS,
        },
    }  # fmt: skip


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    torch = row("torch(threads=2)", 1) | {"roofline": {"reason": "it does not tell"}}
    refused = {"engine": "other", "reason": f"it refuses {HOSTILE}"}
    return {
        "task": "net.onnx", "command": "hasten measure net.onnx --roofline", "conditions": result()["conditions"],
        "rows": [row("openvino(threads=2)", 25), row("onnxruntime(threads=2)", 12), torch, refused],
        "folded": ["stage0.norm (BatchNorm2d)"], "end_to_end": [],
    }  # fmt: skip


def test_the_sample_fits_the_schema(made: dict[str, Any], tmp_path: Path) -> None:
    validate(made, "measure", tmp_path)


def test_what_a_browser_shows_is_what_was_measured(made: dict[str, Any], tmp_path: Path) -> None:
    """Every spot is clicked, and the row that lights up is read; axes are read back from where ticks stand."""
    (tmp_path / "page.html").write_text(page(made))
    with browser(tmp_path / "profile") as driver:
        driver.get((tmp_path / "page.html").as_uri())
        assert json.loads(driver.find_element(By.ID, "result").get_attribute("textContent")) == made
        for place, engine in enumerate(made["rows"][:2]):
            part = driver.find_element(By.ID, f"engine-{place}")
            if place:
                assert not part.find_element(By.TAG_NAME, "svg").is_displayed()
                part.find_element(By.TAG_NAME, "summary").click()
            found = engine["roofline"]["layers"]
            spots = part.find_elements(By.CSS_SELECTOR, "svg a")
            assert len(spots) == sum(layer["operations"] > 0 for layer in found)
            where = {"x": axis(part, "operations a byte", across=True), "y": axis(part, "Gop/s", across=False)}
            for spot in spots:
                driver.execute_script("arguments[0].dispatchEvent(new MouseEvent('click', {bubbles: true}))", spot)
                lit = driver.find_element(By.CSS_SELECTOR, "tr:target")
                assert lit.is_displayed()
                layer = found[int(str(lit.get_attribute("id")).rpartition("-")[2])]
                assert [cell.text for cell in lit.find_elements(By.TAG_NAME, "td")] == [
                    " ".join(column.text(layer).split()) for column in COLUMNS
                ]
                circle = spot.find_element(By.TAG_NAME, "circle")
                assert layer["bound"] in str(circle.get_attribute("class"))
                box = circle.rect
                x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
                assert read(where["x"], x) == pytest.approx(layer["operations"] / layer["bytes"], rel=0.05)
                assert read(where["y"], y) == pytest.approx(layer["per_s"] / 1e9, rel=0.05)
            labels = [t.text for t in part.find_elements(By.CSS_SELECTOR, "text.roof")]
            assert {label.split()[0] for label in labels} == {*PEAKS["read"], *PEAKS["operations"]}
        loaded = driver.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
        assert loaded == []
        assert [entry["message"] for entry in driver.get_log("browser")] == []
        assert driver.find_elements(By.CSS_SELECTOR, "td b, p b") == []


def axis(part: WebElement, title: str, across: bool) -> list[tuple[float, float]]:
    """Ticks as they are drawn: where, and the number beside."""
    texts = part.find_elements(By.CSS_SELECTOR, "svg text:not(.roof)")
    assert title in [t.text for t in texts]
    lines = part.find_elements(By.CSS_SELECTOR, "svg line.grid")
    ticks = []
    for line in lines:
        box = line.rect
        if (box["width"] < box["height"]) == across:
            label = line.find_element(By.XPATH, "following-sibling::*[1]").text
            ticks.append((box["x"] + box["width"] / 2 if across else box["y"] + box["height"] / 2, float(label)))
    assert len(ticks) >= 2
    return ticks


def read(ticks: list[tuple[float, float]], at: float) -> float:
    """The number at a place of a logarithmic axis."""
    (a, first), (b, last) = ticks[0], ticks[-1]
    return float(math.exp(math.log(first) + (at - a) / (b - a) * math.log(last / first)))


def test_nothing_but_its_own_rows_is_linked(made: dict[str, Any]) -> None:
    from test_html import Seen

    seen = Seen(page(made))
    links = [a["href"] for _, a in seen.tags if "href" in a]
    rows = {a.get("id") for tag, a in seen.tags if tag == "tr"}
    assert links
    assert all(link and link.startswith("#") and link[1:] in rows for link in links)
    assert not [a for _, a in seen.tags if any(name.startswith("on") or name == "src" for name in a)]
    assert seen.text.count(HOSTILE) > 30


def test_a_layer_lies_as_far_below_its_roof_as_it_uses(made: dict[str, Any]) -> None:
    """One that reaches half of the peak stands where a logarithmic axis has half; roofs rise and end flat."""
    peak = PEAKS["operations"]["f32"]
    found = made["rows"][0]["roofline"]
    half = layers(1)[0] | {"operations": 2 * 10**9, "bytes": 10**6, "per_s": peak / 2, "ms": 1.0}
    drawn = picture({**found, "layers": [half]})
    assert drawn
    (roof,) = (r for r in drawn.roofs if r.label.startswith("f32"))
    flat = float(roof.points.split()[-1].split(",")[1])
    marks = {float(text): y for y, text in drawn.y_ticks}
    decade = (marks[100] - marks[10]) if 10 in marks else marks[1000] - marks[100]
    assert drawn.spots[0].y - flat == pytest.approx(-decade * math.log10(2), abs=0.3)
    for one in drawn.roofs:
        ends = [tuple(map(float, p.split(","))) for p in one.points.split()]
        assert all(a[0] < b[0] and a[1] >= b[1] for a, b in pairwise(ends))
    assert picture({**found, "layers": []}) is None


def test_a_bundle_has_the_whole_way_on_its_page(made: dict[str, Any]) -> None:
    from test_html import Seen

    runner = {
        "runner": "Python", "reason": "", "latency_p50_ms": 3.25, "prepare_p50_ms": 1.0, "model_p50_ms": 2.0,
        "answer_p50_ms": 0.25, "over_model": 1.6, "over_python": 1.0, "over_python_range": [1.0, 1.0],
    }  # fmt: skip
    text = Seen(page({**made, "rows": [], "end_to_end": [runner]})).text
    assert "3.25" in text
    assert "Engines" not in text
    priced = made["rows"][0] | {"cost": {"batched": 12.5, "single": 99.0}}
    text = Seen(page({**made, "rows": [priced]})).text
    assert "12.5" in text
    assert "energy: nothing is known" in text


def test_the_terminal_tells_the_same(made: dict[str, Any]) -> None:
    from test_table import shown

    text = " ".join(shown(roofline_tables(made["rows"])).split())
    assert "layers on openvino(threads=2)" in text
    assert f"{25 - TOP} more layers take" in text
    assert "above 100 %: layer0" in text
    assert "Conv + Relu" in text
    assert "no layers of torch(threads=2): it does not tell" in text
    assert "L2 100 and 80 GB/s" in text
