"""Conditions of a comparison: what they say of rows, and what cannot be compared."""

import pytest
from results import comparison

from hasten.errors import InputError, UsageError
from hasten.search.condition import Condition


@pytest.mark.parametrize("text", ["p50>+5%", "drop>0.01", "speedup<1.5", "size>-3.5%"])
def test_parse_after_print_is_the_same(text: str) -> None:
    assert str(Condition.parse(text)) == text
    assert Condition.parse(f" {text.replace('>', ' > ')} ") == Condition.parse(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [("p50", "is not a condition"), ("p50>five", "is not a condition"), ("sped<1", "did you mean 'speedup'")],
)
def test_a_mistake_is_one_sentence(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Condition.parse(text)


def slower(share: float) -> dict:
    made = comparison()
    for row in made["rows"]:
        for trial in row["trials"]:
            trial["latency_p50_ms"] *= share
    return made


@pytest.mark.parametrize(("share", "rows"), [(1.04, 0), (1.06, 4), (0.5, 0)])
def test_a_share_is_of_the_same_recipe_before(share: float, rows: int) -> None:
    said = Condition.parse("p50>+5%").met(slower(share), comparison())
    assert len(said) == rows
    assert all("before (p50>+5%)" in s for s in said)


def test_a_number_is_of_the_best_engine() -> None:
    (said,) = Condition.parse("drop>0.01").met(comparison(), None)
    assert said == "distil(width=0.25): drop is 0.03 (drop>0.01)"
    assert len(Condition.parse("speedup<3").met(comparison(), None)) == 1 + 0  # heal's is 1.2, prune's 3.0


def test_a_share_of_nothing_and_of_a_gain() -> None:
    """5 % more of a drop of -0.002, a gain, is -0.0019; of a drop of 0, 0."""
    now, before = comparison(), comparison()
    for made, drop in ((before, 0.0), (now, 0.001)):
        made["rows"][1]["trials"][1]["accuracy_drop"] = drop
    assert [s.partition(":")[0] for s in Condition.parse("drop>+5%").met(now, before)] == ["prune(epochs=3)"]
    assert Condition.parse("drop>+5%").met(before, before) == []


def test_a_row_that_can_no_longer_be_measured_is_told() -> None:
    now = comparison()
    now["rows"][1] |= {"trials": [], "best": None, "test": None, "reason": "it does not fit"}
    (said,) = Condition.parse("p50>+5%").met(now, comparison())
    assert said.startswith("prune(epochs=3): p50 is not known (it does not fit), ")


def test_a_row_that_is_not_tried_any_more_is_told() -> None:
    now = comparison()
    del now["rows"][1]
    (said,) = Condition.parse("p50>+5%").met(now, comparison())
    assert said.startswith("prune(epochs=3): p50 is not known (it was not tried), ")


def test_a_row_whose_trials_all_failed_is_no_yes() -> None:
    """Of any condition; a technique that has nothing to do, as `half` here, is none of them."""
    now = comparison()
    now["rows"][1]["best"] = None
    for trial in now["rows"][1]["trials"]:
        trial |= {"status": "failed", "reason": "the engine died"}
    assert Condition.parse("speedup<0.1").met(now, None) == [
        "prune(epochs=3): speedup is not known (the engine died) (speedup<0.1)"
    ]


def test_what_another_machine_took_is_not_compared() -> None:
    other = comparison()
    other["conditions"] = {**other["conditions"], "cpu": "another"}
    with pytest.raises(InputError, match="of another machine"):
        Condition.parse("p50>+5%").met(comparison(), other)
    with pytest.raises(InputError, match="of another machine"):
        Condition.parse("p50>+5%").check(other, "mine")
    assert Condition.parse("speedup<-5%").met(comparison(), other) == []
    with pytest.raises(UsageError, match="add --against"):
        Condition.parse("size>+1%").met(comparison(), None)
