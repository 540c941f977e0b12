"""What textbooks say of these techniques, put to the test: a verdict for each claim, with figures and intervals.

    python benchmarks/claims.py [--prepare] [--only NAME]... [-o out/claims]

A claim is a file in benchmarks/claimed; its rule is printed before it is judged. `--prepare` only trains and makes
files, and times nothing. What has been made and judged is kept and not done again, so that a run that was killed
goes on. `benchmarks/claims_page.py out/claims/claims.json` makes docs/claims.md of the result.
"""

import argparse
import hashlib
import json
import pkgutil
import sys
import time
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import claimed
from bar import bar
from claimed import Figure
from commands import ROOT
from hasten import files
from hasten.measure.lock import quiet
from hasten.measure.machine import conditions, fingerprint, versions

HERE = Path(__file__).parent
SHARED = HERE / "claimed"
HOURS = 4.0
NAMES = tuple(sorted(m.name for m in pkgutil.iter_modules(claimed.__path__) if not m.name.startswith("_")))


def judged(name: str, kept: Path) -> dict[str, Any]:
    """The claim, its rule, figures and verdict; from `kept` where the same file judged it on this machine."""
    claim: Any = import_module(f"claimed.{name}")
    shared = [HERE / f"{other}.py" for other in ("made", "contest", "shelf")]
    sources = b"".join(p.read_bytes() for p in (Path(claim.__file__), *sorted(SHARED.glob("_*.py")), *shared))
    key = {"source": hashlib.sha256(sources).hexdigest(), "machine": fingerprint(), "versions": versions()}
    if (known := files.remembered(kept)).get("key") == key:
        return known
    print(f"\n{claim.CLAIM}?\n  rule: {claim.RULE}", flush=True)
    began = time.monotonic()
    claim.prepare()
    found: list[Figure] = []
    if claim.TIMED:
        with quiet():
            found = [_shown(f) for f in claim.figures()]
    else:
        found = [_shown(f) for f in claim.figures()]
    result = {
        "key": key,
        "name": name,
        "claim": claim.CLAIM,
        "rule": claim.RULE,
        "timed": claim.TIMED,
        "verdict": claim.verdict(found),
        "figures": [asdict(f) for f in found],
        "minutes": (time.monotonic() - began) / 60,
        "conditions": conditions(0),
    }
    files.write(kept, json.dumps(result, indent=1, allow_nan=False))
    return result


def _shown(figure: Figure) -> Figure:
    print(f"  {said(asdict(figure))}", flush=True)
    return figure


def said(figure: dict[str, Any]) -> str:
    """One line."""
    if figure["value"] is None:
        return f"{figure['of']}: not known; {figure['said']}"
    if figure["unit"] == "yes":
        shown = "depends" if figure["value"] else "does not depend"
    else:
        sign = "+" if figure["unit"] == "points" else ""
        value, low, high = (f"{figure[end]:{sign}.2f}" for end in ("value", "low", "high"))
        shown = f"{value} [{low}, {high}]"
    return f"{figure['of']}: {shown}{'; ' if figure['said'] else ''}{figure['said']}"


def prepare(names: list[str]) -> None:
    """All that is trained and made, claim by claim."""
    for name in names:
        began = time.monotonic()
        import_module(f"claimed.{name}").prepare()
        print(f"{name}: prepared in {(time.monotonic() - began) / 60:.1f} min", flush=True)


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--prepare", action="store_true", help="train and make files; nothing is timed or judged")
    ask.add_argument("--only", action="append", choices=NAMES, help="this claim; may be repeated")
    ask.add_argument("-o", "--output", type=Path, default=ROOT / "out" / "claims")
    args = ask.parse_args()
    names, began = args.only or list(NAMES), time.monotonic()
    if args.prepare:
        prepare(names)
        return 0
    results = [judged(name, args.output / f"{name}.json") for name in names]
    for result in results:
        print(f"{result['verdict']}: {result['claim']}", flush=True)
    told = [{k: v for k, v in result.items() if k != "key"} for result in results]
    whole = {"format": 1, "conditions": conditions(0), "claims": told}
    files.write(args.output / "claims.json", json.dumps(whole, indent=1, allow_nan=False) + "\n")
    hours = (time.monotonic() - began) / 3600
    passed = [
        bar("claims with a verdict", len(results), str(len(names)), len(results) == len(names)),
        bar("hours", hours, f"at most {HOURS:g}", hours <= HOURS),
    ]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
