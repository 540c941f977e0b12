"""Which recipes a comparison tries together."""

from dataclasses import replace

from hasten.recipe import Recipe
from hasten.search.budget import Budget
from hasten.search.rows import Row, together
from hasten.search.trial import Trial

ORIGINAL = Trial("as it is", "onnxruntime", status="baseline", macs=100)


def row(recipe: str, macs: int, speedup: float, precision: str = "f32", drop: float = 0.0) -> Row:
    recipe = str(Recipe.parse(recipe))
    trial = Trial(
        recipe, "onnxruntime", "kept", macs=macs, speedup=speedup, precision=precision, accuracy_drop=drop,
        accuracy_drop_ci95=(drop - 0.001, drop + 0.001),
    )  # fmt: skip
    return Row(recipe, "alone", recipe.partition("(")[0], trials=(trial,))


def test_what_saves_work_stands_before_what_saves_bits() -> None:
    rows = [row("quantize", 100, 1.8, "int8"), row("prune(0.5)", 30, 2.0), row("factorize", 60, 1.4)]
    first, second, both = (Recipe.parse(r) for r in together(rows, ORIGINAL, Budget(0.01)))
    assert [[type(s).__name__ for s in r.steps] for r in (first, second)] == [
        ["Prune", "Quantize"], ["Factorize", "Quantize"],
    ]  # fmt: skip
    assert [type(s).__name__ for s in both.steps] == ["Prune", "Factorize", "Quantize"]


def test_of_two_that_draw_weights_anew_the_better_one_goes_with_the_others() -> None:
    rows = [row("quantize", 100, 1.8, "int8"), row("distil(width=0.5)", 25, 3.0), row("nas(4.0)", 20, 4.0),
            row("prune(0.5)", 30, 2.0)]  # fmt: skip
    made = [[type(s).__name__ for s in Recipe.parse(r).steps] for r in together(rows, ORIGINAL, Budget(0.01))]
    assert made[-1] == ["Nas", "Prune", "Quantize"]
    assert ["Distil", "Quantize"] in made
    slower = [replace(r, trials=tuple(replace(t, speedup=1.0) for t in r.trials)) if r.technique == "nas" else r
              for r in rows]  # fmt: skip
    made = [[type(s).__name__ for s in Recipe.parse(r).steps] for r in together(slower, ORIGINAL, Budget(0.01))]
    assert made[-1] == ["Distil", "Prune", "Quantize"]
