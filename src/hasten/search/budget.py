"""The budget: what may be lost, what must be won, and whether it was."""

from dataclasses import dataclass

from hasten.search.trial import Trial

OUTRUN = 2.0  # times as slow as the best so far


@dataclass(frozen=True)
class Budget:
    """What may be lost, what must be won, and how long the search may take."""

    max_drop: float = 0.01  # in the metric's unit; the upper end of the 95 % interval has to stay within
    speedup: float | None = None  # over the original
    latency_ms: float | None = None  # p50, or the mean where the time depends on the sample
    time_s: float = 1200.0  # no candidate is started later than this


def outrun(trial: Trial, best: Trial | None) -> str:
    """Why a timed trial cannot win, whatever its accuracy, beside the best so far; empty when it can.

    By speedup and by p50: a neighbour of a moment spoils one of them.
    """
    if best is None or (trial.speedup or 0.0) * OUTRUN > (best.speedup or 0.0):
        return ""
    taken, least = trial.typical_ms or 0.0, best.typical_ms or 0.0
    return "" if taken < OUTRUN * least else f"not scored: it takes {taken:.3g} ms, and {least:.3g} are enough"


def why_not(trial: Trial, budget: Budget) -> str:
    """Why a measured trial is not admitted; empty when it is."""
    high = trial.accuracy_drop_ci95[1] if trial.accuracy_drop_ci95 else float("inf")
    return "" if high <= budget.max_drop else f"it may lose {high:.4g}, and {budget.max_drop:g} is allowed"


def refusal(winner: Trial, budget: Budget) -> str:
    """Why the winner is not good enough; empty when it is."""
    low = winner.speedup_ci95[0] if winner.speedup_ci95 else 0.0
    if (winner.accuracy_drop or 0) > budget.max_drop:
        lost = f"loses {winner.accuracy_drop:.4g} on {winner.split}; {budget.max_drop:g} is allowed"
        return f"{winner.label}, the fastest within the budget on validate, {lost}"
    if budget.speedup and (winner.speedup or 0) < budget.speedup:
        return (
            f"{budget.speedup:g}x was asked for; the best within the budget is {winner.speedup:.2f}x ({winner.label})"
        )
    if budget.latency_ms and (winner.typical_ms or 0) > budget.latency_ms:
        best = f"the best within the budget takes {winner.typical_ms:.3g} ms ({winner.label})"
        return f"{budget.latency_ms:g} ms was asked for; {best}"
    if low <= 1:
        return "nothing within the budget is faster than the model as it is"
    return ""


def praise(winner: Trial, budget: Budget, metric: str) -> str:
    """The verdict on a winner, with its figures."""
    low, high = winner.accuracy_drop_ci95 or (0.0, 0.0)
    proof = (
        ""
        if high <= budget.max_drop
        else f"; {winner.n_samples} samples are too few to prove a drop of at most {budget.max_drop:g}"
    )
    return (
        f"{winner.label}: {winner.speedup:.2f}x as fast as the original, {metric} {winner.accuracy:.4f}, "
        f"drop {winner.accuracy_drop:+.4f} [{low:+.4f}, {high:+.4f}] on {winner.split}{proof}"
    )
