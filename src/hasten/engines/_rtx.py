"""TensorRT-RTX, opened quietly: NVIDIA's own ONNX parser and builder, neither of which needs a GPU.

What it takes is "accepted by TensorRT-RTX 1.7": it is not the TensorRT of a board or of a server, and nothing has run.
"""

import importlib.metadata
import importlib.util
import re
from dataclasses import dataclass
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
class Fault:
    """One complaint of the parser: place of the node in the graph (-1: of none), its name and operator, and why."""

    place: int
    name: str
    op: str
    why: str


@dataclass(frozen=True)
class Opened:
    """A builder, an empty strongly typed network and a parser that fills it; they live and die together.

    Attributes:
        said: what the package complained of since, severity and sentence, as it came. It has one logger a process:
            open the next when this one is done with.
    """

    builder: Any
    network: Any
    parser: Any
    said: list[tuple[str, str]]

    def faults(self) -> list[Fault]:
        """What the parser holds against the model that it was last given."""
        found = (self.parser.get_error(i) for i in range(self.parser.num_errors))
        return [Fault(e.node(), e.node_name(), e.node_operator(), _why(e)) for e in found]


def opened(trt: Any = None, strong: bool = True) -> Opened:
    """A parser on an empty network."""
    trt = trt or load()
    logger = _logger(trt)
    logger.said = []
    builder = trt.Builder(logger)
    network = builder.create_network(strong << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    return Opened(builder, network, trt.OnnxParser(network, logger), logger.said)


def plain(why: str) -> str:
    """Its words on one line, without the condition in its source that failed where a sentence goes with it."""
    said = " ".join(why.split()).removeprefix("Assertion failed: ")
    sentence = re.search(r'&& "(.+)"$', said)
    return sentence[1] if sentence else said[:300]


def _why(error: Any) -> str:
    """For an operator that it does not know the parser says `false`."""
    why = plain(str(error.desc()))
    return f"{error.node_operator()} is not among the operators of the parser" if why == "false" else why


@cache
def _logger(trt: Any) -> Any:
    """The one logger, which keeps what matters and prints nothing; made when the package is here."""

    class Kept(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.said: list[tuple[str, str]] = []

        def log(self, severity: Any, sentence: str) -> None:
            if severity.name in _KEPT:
                self.said.append((severity.name, sentence))

    return Kept()
