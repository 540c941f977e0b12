"""docs/claims.md, made from docs/claims.json, which is what benchmarks/claims.py leaves.

python benchmarks/claims_page.py [RESULT.json]      its claims take the places of those that are kept
"""

import argparse
import json
from pathlib import Path
from typing import Any

from claims import said
from commands import ROOT

KEPT, PAGE = ROOT / "docs" / "claims.json", ROOT / "docs" / "claims.md"


def rendered(result: dict[str, Any]) -> str:
    """The page."""
    lines = [
        "# What is said of these techniques, and what was measured",
        "On the networks of examples/zoo and the fashion net. Figures have their 95 % interval. Rules were written "
        "before the figures were seen.",
        "",
        "| claim | verdict | figures |",
        "| --- | --- | --- |",
        *(f"| [{c['claim']}](#{c['name'].replace('_', '-')}) | **{c['verdict']}** | {len(c['figures'])} |"
          for c in result["claims"]),
        "",
    ]  # fmt: skip
    whole = result["conditions"]
    for claim in result["claims"]:
        lines += [
            f"## {claim['name'].replace('_', ' ')}",
            f"{claim['claim']}: **{claim['verdict']}**. Measured on {_where(claim.get('conditions', whole))}.",
            "",
            f"Rule: {claim['rule']}",
            "",
            *(f"- {said(figure)}" for figure in claim["figures"]),
            "",
        ]
    return "\n".join([*lines, "Made by `benchmarks/claims_page.py`."]) + "\n"


def _where(conditions: dict[str, Any]) -> str:
    return f"{conditions['cpu']}, {conditions['cores']} cores, {conditions['date'][:10]}"


def merged(kept: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """The result, with those claims of what is kept that it has not, each with where it was measured."""
    before = [{"conditions": kept["conditions"], **c} for c in kept.get("claims", ())]
    claims = {c["name"]: c for c in (*before, *result["claims"])}
    return {**result, "claims": [claims[name] for name in sorted(claims)]}


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("result", type=Path, nargs="?")
    args = ask.parse_args()
    if args.result:
        kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
        KEPT.write_text(json.dumps(merged(kept, json.loads(args.result.read_text())), indent=1) + "\n")
    PAGE.write_text(rendered(json.loads(KEPT.read_text())))


if __name__ == "__main__":
    main()
