"""What answers cost: time at the price of an hour."""

from collections.abc import Mapping
from typing import Any

MILLION, HOUR_S = 1e6, 3600.0


def costs(row: Mapping[str, Any], price: float | None, samples: int = 1) -> dict[str, float] | None:
    """Of a million answers, in the currency of the price.

    Args:
        row: of `survey`, with figures.
        price: of an hour of the machine; None: nobody has said.
        samples: in a call.

    Returns:
        batched: at the throughput that was measured; single: one call after the other, as in a live stream.
    """
    if price is None:
        return None
    per_s = price / HOUR_S
    return {
        "batched": MILLION * per_s / row["throughput_per_s"],
        "single": MILLION * per_s * row["latency_p50_ms"] / 1e3 / samples,
    }
