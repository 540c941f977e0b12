"""The tree of exceptions is the one drawn on top of its file, and each has its exit code."""

import inspect
import re

import pytest

from hasten import errors
from hasten.errors import HastenError, InputError, unknown


def test_the_drawing_is_true() -> None:
    drawn = {name: int(code) for name, code in re.findall(r"(\w+)\s+(\d+)  ", errors.__doc__ or "")}
    defined = {n: c.exit_code for n, c in vars(errors).items() if inspect.isclass(c) and issubclass(c, HastenError)}
    assert drawn == defined


def test_a_sentence_and_its_mend() -> None:
    fault = InputError("the data is empty", "give at least one sample")
    assert str(fault) == "the data is empty; give at least one sample"
    assert str(InputError("it is empty")) == "it is empty"


@pytest.mark.parametrize(("given", "offered"), [("top2", "top1"), ("Agreement", "agreement"), ("COSINE", "cosine")])
def test_the_nearest_name_is_offered(given: str, offered: str) -> None:
    fault = unknown("metric", given, ["top1", "agreement", "cosine"])
    assert fault.mend == f"did you mean {offered!r}?"
    assert fault.exit_code == 2


def test_without_a_near_name_all_are_listed() -> None:
    assert unknown("metric", "zzz", ["b", "a"]).mend == "there are: a, b"
