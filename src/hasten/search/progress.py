"""What a long search tells whoever waits for it: shown by the command line, unheard from Python unless asked for."""

from typing import Protocol


class Progress(Protocol):
    """Called between measurements, never during one: what is shown takes no time from what is timed."""

    def stage(self, text: str) -> None:
        """A new part of the work begins."""

    def trial(self, done: int, total: int, text: str, seconds_left: float) -> None:
        """A candidate begins.

        Args:
            done, total: candidates that have ended, and all there are.
            text: the candidate.
            seconds_left: as far as can be told, until the last one has ended.
        """

    def note(self, text: str) -> None:
        """Something came out."""


class Silent:
    """Says nothing."""

    def stage(self, text: str) -> None:
        pass

    def trial(self, done: int, total: int, text: str, seconds_left: float) -> None:
        pass

    def note(self, text: str) -> None:
        pass
