"""What a technique's gain depends on, as far as measurements on this machine show it."""

from collections.abc import Mapping, Sequence
from typing import Any

APART = 1.2  # times: speedups that differ by less, or whose intervals overlap, are no sign
Speedups = Mapping[str, Mapping[str, Any]]


def dependence(rows: Sequence[Mapping[str, Any]], glances: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each technique: whether its gain depends on the network, and on the engine and its precision.

    Args:
        rows: of a comparison; those alone count.
        glances: the technique on further networks; without any, nobody knows of the architecture.

    Returns:
        technique, and under architecture and hardware: depends (None: not known) and said, the figures behind it.
    """
    names = dict.fromkeys(row["technique"] for row in rows if row["role"] == "alone")
    return [
        {
            "technique": name,
            "architecture": _architecture([g for g in glances if g["technique"] == name]),
            "hardware": _hardware([r for r in rows if r["technique"] == name and r["role"] == "alone"]),
        }
        for name in names
    ]


def over_itself(trial: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The speedup over the same engine and settings with the model as it is, threads aside; None where that is lost."""
    speedups: Speedups = trial["speedups"]
    return next((s for engine, s in speedups.items() if _settings(engine) == _settings(trial["engine"])), None)


def _settings(engine: str) -> set[str]:
    name, _, settings = engine.removesuffix(")").partition("(")
    return {name, *(s for s in settings.split(", ") if s and not s.startswith("threads="))}


def _architecture(glances: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Does it apply to each network, and is it worth the same there, on one engine?"""
    if not glances:
        return {"depends": None, "said": "tried on no further network"}
    applied = [g for g in glances if not g["reason"]]
    said = [f"applies to {len(applied)} of {len(glances)} networks"]
    engines = dict.fromkeys(e for g in applied for e in g["speedups"])
    apart = False
    for engine in engines:
        found = {g["network"]: g["speedups"][engine] for g in applied if engine in g["speedups"]}
        apart |= _apart(found)
        said.append(f"{_span(found)} times as fast on {engine}")
    said += [f"{len(g['untouched'])} layers untouched in {g['network']}" for g in applied if g["untouched"]]
    said += [f"{g['network']}: {g['reason']}" for g in glances if g["reason"]]
    known = len(applied) > 0 and len(glances) > 1  # one network, or none that takes it, shows no difference
    return {"depends": (apart or len(applied) < len(glances)) if known else None, "said": "; ".join(said)}


def _hardware(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Is it worth the same on every engine and precision, each against itself with the model as it is?"""
    apart, said = False, []
    for row in rows:
        own = {t["engine"]: over for t in row["trials"] if (over := over_itself(t))}
        if len(own) > 1:
            apart |= _apart(own)
            said.append(f"{row['recipe']}: " + ", ".join(f"{s['value']:.2f} on {e}" for e, s in own.items()))
    return {"depends": apart if said else None, "said": "; ".join(said) or "measured on fewer than two engines"}


def _apart(found: Speedups) -> bool:
    """Whether some two of these surely differ."""
    if len(found) < 2:
        return False
    most = max(found.values(), key=lambda s: s["value"])
    least = min(found.values(), key=lambda s: s["value"])
    if most["value"] < APART * least["value"]:
        return False
    return not (most["ci95"] and least["ci95"]) or bool(most["ci95"][0] > least["ci95"][1])


def _span(found: Speedups) -> str:
    values = sorted(s["value"] for s in found.values())
    return f"{values[0]:.2f} to {values[-1]:.2f}" if len(values) > 1 else f"{values[0]:.2f}"
