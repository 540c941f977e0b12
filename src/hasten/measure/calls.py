"""Calls of this process as entrants of a race: for what is made of one session, and differs by what is done with it."""

import gc
import itertools
import time
from collections.abc import Callable, Sequence

from hasten.errors import ContractError
from hasten.model import Arrays

LONGEST_S = 0.2  # of a burst


class Calls:
    """One way to answer a sample. It shares its process with the others, so a race of them has one launch."""

    varies = False

    def __init__(self, answer: Callable[[Arrays], object], feeds: Sequence[Arrays]) -> None:
        """
        Args:
            feeds: of a call each; they take turns.
        """
        self._answer, self._feeds = answer, itertools.cycle(feeds)

    def burst(self, drop: int, keep: int) -> list[float]:
        """As Subject.burst: fewer calls, but at least one, where they take over LONGEST_S."""
        times: list[float] = []
        gc.disable()
        try:
            began = time.perf_counter()
            for i in range(drop + keep):
                feed, start = next(self._feeds), time.perf_counter()
                self._answer(feed)
                end = time.perf_counter()
                if i >= drop or end - began > LONGEST_S:
                    times.append(1e3 * (end - start))
                if times and end - began > LONGEST_S:
                    break
        finally:
            gc.enable()
        return times

    def relaunch(self) -> None:
        raise ContractError("calls of this process cannot be launched again", "race them with launches=1")
