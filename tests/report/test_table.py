"""The tables for a terminal: what they show, in which order, on any width."""

import io

import pytest
from results import hostile, refused, result, row
from rich.console import Console

from hasten.report.cells import digits, interval, percent, short, signed
from hasten.report.table import TOP, doctor_tables, ranked, result_tables, survey_table


def shown(parts: list, width: int = 160) -> str:
    out = Console(file=io.StringIO(), width=width, markup=False)
    for part in parts:
        out.print(part)
    return out.file.getvalue()


def test_bf16_is_a_row_of_its_own_and_the_winner_comes_last() -> None:
    text = shown(result_tables(result()))
    lines = text.splitlines()
    assert [line for line in lines if "hint=bf16" in line and "bf16 " in line and "5.20 [5.10, 5.30]" in line]
    assert text.index("baselines") < text.index("candidates: 3 kept, 2 rejected, 1 failed") < text.index("winner")
    assert "+0.0012   +0.0027   test" in text  # the drop, the upper end of its interval, and of what
    assert lines[-1] == result()["verdict"]


def test_a_refusal_shows_no_winner() -> None:
    assert "winner" not in shown(result_tables(refused()))


def test_a_long_search_shows_its_best() -> None:
    many = [row("simplify", f"engine{i:02d}", "kept", 1 + i, 0.0) for i in range(20)]
    text = shown(result_tables(result(trials=many)))
    assert f"20 kept; the first {TOP}" in text
    assert "engine19" in text
    assert "engine01" not in text


def test_what_is_within_the_budget_comes_first() -> None:
    order = [(r["status"], r["speedup"]) for r in ranked(result()["trials"])]
    assert order == [
        ("kept", 7.4),
        ("kept", 6.9),
        ("kept", 3.2),
        ("rejected", 8.1),
        ("rejected", 1.4),
        ("failed", None),
    ]


def test_brackets_are_no_markup() -> None:
    assert "[bold]" in "".join(shown(result_tables(hostile()), 4000).split("\n"))


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_line_is_wider_than_the_screen(width: int) -> None:
    assert max(map(len, shown(result_tables(result()), width).splitlines())) <= width


def test_a_survey_says_why_an_engine_is_left_out() -> None:
    measured = {**row("as it is", "onnxruntime(threads=2)", "baseline", 2.0, 0.0), "reason": ""}
    text = shown([survey_table([measured, {"engine": "torch", "reason": "torch runs torch models"}])])
    assert "3.20" in text  # p50
    assert "124 M" in text
    assert "torch runs torch models" in text


def test_doctor_shows_machine_parts_and_caches() -> None:
    parts = [
        {"kind": "engine", "name": "one", "missing": None, "takes": "onnx"},
        {"kind": "engine", "name": "two", "missing": "pip install two", "takes": "onnx"},
    ]
    found = {"conditions": result()["conditions"], "parts": parts, "caches": [{"folder": "/cache/data", "mb": 12.3}]}
    text = shown(doctor_tables(found))
    for needed in (
        "A Processor",
        "avx2, avx512_vnni",
        "hasten 0.1.0",
        "here",
        "pip install two",
        "/cache/data",
        "12.3",
    ):
        assert needed in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.0512, "0.051"), (0.9996, "1.000"), (7.913, "7.91"), (12.34, "12.3"), (1234.5, "1234")],
)
def test_three_digits_that_matter(value: float | None, text: str) -> None:
    assert digits(value) == text


def test_other_figures() -> None:
    assert [short(v) for v in (None, 12, 1_500, 124_000_000, 4.1e9)] == ["-", "12", "1.5 k", "124 M", "4.1 G"]
    assert (percent(0.954), signed(-0.002)) == ("95%", "-0.0020")
    assert interval(1.0, None, signed) == "+1.0000"
