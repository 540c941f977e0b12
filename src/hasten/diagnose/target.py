"""What an engine, or a part of a chip, makes of a network: a verdict a node. One file each in `targets/`.

A target whose engine is here is probed: `diagnose.probing` hands it models of one node. One that is nowhere to be had
is judged by its published rules, and says that it is an estimate.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from hasten.diagnose.single import Single
from hasten.model import Arrays, OnnxModel

Word = Literal["native", "falls back", "refused", "unknown"]


@dataclass(frozen=True)
class Told:
    """What a target makes of one node, and why where it is not simply native."""

    word: Word
    why: str = ""


@dataclass(frozen=True)
class Subject:
    """What is checked.

    Attributes:
        model: functions inlined, nodes labelled, inputs of the lengths of the feed.
        feed: input name -> array, of one call.
        singles: the nodes, each cut out, in the order of the graph.
        free: names of axes of the file's inputs that have no length of their own.
    """

    model: OnnxModel
    feed: Arrays
    singles: Sequence[Single]
    free: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """
    Attributes:
        told: of each of the subject's singles, in their order.
        figures: of the whole, by name.
        remarks: sentences on the whole.
        refusal: why the whole is refused where no single node is.
    """

    told: Sequence[Told]
    figures: Mapping[str, float] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    refusal: str = ""


@dataclass(frozen=True)
class Target(ABC):
    """A frozen dataclass whose fields are its settings."""

    @classmethod
    @abstractmethod
    def missing(cls) -> str | None:
        """Why it cannot be asked on this machine, and the command that mends it; None when it can."""

    @property
    @abstractmethod
    def said(self) -> str:
        """Who accepts what is native, with the version: ONNX Runtime 1.32.0."""

    @property
    def estimate(self) -> bool:
        """Whether nobody was asked, and rules were applied."""
        return False

    @abstractmethod
    def told(self, singles: Sequence[Single]) -> list[Told]:
        """What it makes of each node alone.

        Raises:
            HastenError: it cannot be asked at all.
        """

    def look(self, subject: Subject) -> Found:
        """What it makes of the network: of each node alone, unless a target has more to say."""
        return Found(self.told(subject.singles))
