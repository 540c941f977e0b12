"""An engine whose speed and answers are known exactly: it looks at no model, and time is told by a clock of its own."""

from dataclasses import dataclass

import numpy as np

from hasten.engine import Compiled, Engine, Layer

HELD_UP = 60  # first calls that `first_ms` holds up, each less than the one before


class Clock:
    """Stands in for the module `time`: moves on when a call takes its time, and a little whenever it is read."""

    def __init__(self) -> None:
        self.now_ns = 0

    def perf_counter_ns(self) -> int:
        self.now_ns += 10
        return self.now_ns

    def perf_counter(self) -> float:
        return self.perf_counter_ns() / 1e9


CLOCK = Clock()


@dataclass(frozen=True)
class Known(Engine):
    """Answers {"scores": f32 [N, 4], "best": i64 [N]} of `image` f32 [N, 1, 8, 8] by summing quarters."""

    call_ms: float = 0.0  # of a call, whatever its batch
    first_ms: float = 0.0  # more, in the first call
    whole_batch: bool = False  # subtract the mean over the batch, as a dynamic scale would
    largest: int = 1024  # samples a call

    @classmethod
    def missing(cls) -> str | None:
        return None

    @classmethod
    def version(cls) -> str:
        return "1"

    @classmethod
    def variants(cls, quantized: bool) -> tuple["Known", ...]:
        return (cls(),)

    @property
    def precision(self) -> str:
        return "f32"

    def _compile(self, model) -> Compiled:
        return Summing(self)


class Summing(Compiled):
    def __init__(self, engine: Known) -> None:
        self.engine, self.calls, self.seen = engine, 0, []

    def run(self, feed):
        image = feed["image"]
        if len(image) > self.engine.largest:
            raise RuntimeError("too many samples")
        self.calls += 1
        self.seen.append((len(image), float(image.flat[0])))
        held_up = self.engine.first_ms * max(0.0, 1 - self.calls / HELD_UP)
        CLOCK.now_ns += int((self.engine.call_ms + held_up) * 1e6)
        scores = image.reshape(len(image), 4, 16).sum(2)
        scores = scores - scores.mean() if self.engine.whole_batch else scores
        return {"scores": scores.astype(np.float32), "best": scores.argmax(1)}

    def layers(self) -> list[Layer]:
        return [Layer("c", "Conv", "i8", True), Layer("f", "Gemm", "f32", True), Layer("r", "Relu", "f32", False)]
