"""What a warmed-up entrant spends in its layers, beside what the machine can do: the roofline of `hasten measure`."""

from collections.abc import Mapping
from typing import Any

from hasten.errors import HastenError
from hasten.graph.fuse import by_engine
from hasten.measure.peaks import peaks
from hasten.measure.roofline import roofline
from hasten.measure.stand import Stand
from hasten.model import OnnxModel

PROFILE_S = 0.5  # for which an engine keeps account of its layers
SILENT = "this engine does not tell what its layers take"


def profiled(stand: Stand, model: OnnxModel, axes: Mapping[str, int]) -> dict[str, Any]:
    """As JSON values. The stand is not fit for timing afterwards: its engine has compiled a twin.

    Args:
        model: the file that the stand runs.
        axes: length of its free axes other than the batch, by name.

    Returns:
        reason: why there are no figures; empty where there are, and then these: layers and uncounted, see Roofline;
        fused, see graph.fuse; sum_ms of the layers; plain_ms, of a call; profiled_ms, of a call while the account was
        kept, which costs time; peaks of the machine with as many threads.
    """
    try:
        found = stand.profile(PROFILE_S)
        if not found["layers"]:
            return {"reason": SILENT}
        known = peaks(stand.entrant.settings["threads"])
        samples = 1 if model.signature.batch else model.signature.fixed_batch
        made = roofline(found["layers"], model, known, samples, axes)
    except HastenError as fault:  # what has been measured so far is kept
        return {"reason": str(fault)}
    layers = [layer.to_json() for layer in made.layers]
    return {
        "reason": "",
        "layers": layers,
        "fused": by_engine(layers),
        "uncounted": list(made.uncounted),
        "sum_ms": sum(layer.ms for layer in made.layers),
        "plain_ms": found["plain_ms"],
        "profiled_ms": found["call_ms"],
        "peaks": known.to_json(),
    }
