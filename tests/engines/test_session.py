"""A session turns an engine that breaks its promise into one sentence."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hasten.engine import Compiled, Engine, Layer
from hasten.errors import ContractError, InputError
from hasten.model import Arrays, OnnxFile, Signature, Tensor

MODEL = OnnxFile(
    Path("absent.onnx"), Signature((Tensor("x", "float32", (2, 4)),), (Tensor("output", "float32", (2, 3)),))
)
FEED = {"x": np.zeros((2, 4), np.float32)}


class Broken(Compiled):
    def __init__(self, fault: str) -> None:
        self.fault = fault

    def run(self, feed: Arrays) -> dict[str, np.ndarray]:
        if self.fault == "raises":
            raise KeyError("no such kernel")
        right = np.zeros((2, 3), np.float32)
        return {
            "name": {"outputs": right}, "dtype": {"output": right.astype(np.float64)}, "shape": {"output": right.T},
            "extra": {"output": right, "more": right}, "none": {},
        }[self.fault]  # fmt: skip

    def layers(self) -> list[Layer]:
        return []


@dataclasses.dataclass(frozen=True)
class Planted(Engine):
    fault: str = ""

    @classmethod
    def missing(cls) -> str | None:
        return None

    @classmethod
    def version(cls) -> str:
        return "1.0"

    @classmethod
    def variants(cls, quantized: bool) -> tuple[Engine, ...]:
        return (cls(),)

    @property
    def precision(self) -> str:
        return "f32"

    def _compile(self, model: Any) -> Compiled:
        if self.fault == "refuses":
            raise RuntimeError("a page of advice\nkernel 7 is not built\n")
        return Broken(self.fault)


@pytest.mark.parametrize("fault", ["name", "dtype", "shape", "extra", "none"])
def test_answer_outside_the_signature_is_a_bug(fault: str) -> None:
    with (
        Planted(fault=fault).compile(MODEL) as session,
        pytest.raises(ContractError, match="outside the signature"),
    ):
        session(FEED)


def test_engine_that_fails_says_so_in_one_sentence() -> None:
    with Planted(fault="raises").compile(MODEL) as session, pytest.raises(InputError, match="no such kernel"):
        session(FEED)
    with pytest.raises(InputError, match="refuses the model: kernel 7 is not built; try another engine"):
        Planted(fault="refuses").compile(MODEL)
