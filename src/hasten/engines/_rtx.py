"""TensorRT-RTX, opened quietly: NVIDIA's own ONNX parser and builder, neither of which needs a GPU.

What it takes is "accepted by TensorRT-RTX 1.7": it is not the TensorRT of a board or of a server, and nothing has run.
"""

import importlib.metadata
import importlib.util
from dataclasses import dataclass, field
from functools import cache
from typing import Any

PACKAGE = "tensorrt_rtx"
MEND = "pip install 'hasten[tensorrt]'"
_KEPT = ("INTERNAL_ERROR", "ERROR", "WARNING")  # of its severities; what is beneath is chatter


def missing() -> str | None:
    """Why it is not here, and the command that mends it; None when it is."""
    return None if importlib.util.find_spec(PACKAGE) else f"tensorrt-rtx is not installed: {MEND}"


def version() -> str:
    """Of the package: 1.7.1.116."""
    return importlib.metadata.version("tensorrt-rtx")


def release() -> str:
    """As it is said: TensorRT-RTX 1.7."""
    return f"TensorRT-RTX {'.'.join(version().split('.')[:2])}"


@cache
def load() -> Any:
    """The package."""
    import tensorrt_rtx

    return tensorrt_rtx


@dataclass(frozen=True)
class Opened:
    """A builder, an empty strongly typed network and a parser that fills it; they live and die together.

    Attributes:
        said: what it complained of, severity and sentence, as it came.
    """

    builder: Any
    network: Any
    parser: Any
    logger: Any
    said: list[tuple[str, str]] = field(default_factory=list)

    def errors(self) -> "list[Fault]":
        """What the parser holds against the model it was last given."""
        found = (self.parser.get_error(i) for i in range(self.parser.num_errors))
        return [Fault(e.node(), e.node_name(), e.node_operator(), e.desc()) for e in found]


@dataclass(frozen=True)
class Fault:
    """One complaint of the parser: place of the node in the graph (-1: of none), its name and operator, and why."""

    place: int
    name: str
    op: str
    why: str


def opened(trt: Any = None, strong: bool = True) -> Opened:
    """A parser on an empty network, strongly typed; of TensorRT, whose interface is the same, where that is given."""
    said: list[tuple[str, str]] = []
    trt = trt or load()
    logger = _logger(trt)(said)
    builder = trt.Builder(logger)
    network = builder.create_network(strong << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    return Opened(builder, network, trt.OnnxParser(network, logger), logger, said)


@cache
def _logger(trt: Any) -> Any:
    """A class of loggers that keep what matters; made when the package is here."""

    class Kept(trt.ILogger):  # type: ignore[misc,name-defined]
        def __init__(self, said: list[tuple[str, str]]) -> None:
            trt.ILogger.__init__(self)
            self._said = said

        def log(self, severity: Any, sentence: str) -> None:
            if severity.name in _KEPT:
                self._said.append((severity.name, sentence))

    return Kept
