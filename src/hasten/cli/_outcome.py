"""What a verb hands back: the result for --json, what is shown, and the answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class Outcome:
    """A verb never prints: the caller writes `result` and shows `shown`, or neither."""

    result: dict[str, Any]  # JSON values, finite
    shown: "Sequence[RenderableType]" = ()
    refusal: str = ""  # why the answer is no; shown even under -q
    exit_code: int = 0
