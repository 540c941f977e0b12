"""Writes the README's table of results: measures the examples with `hasten boost`, or reads results that are there.

    python benchmarks/results_table.py [RESULT.json]... [--readme README.md]

The table goes between the lines `<!-- results -->` and `<!-- /results -->`.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from commands import ROOT, boost

BEGIN, END = "<!-- results -->", "<!-- /results -->"
EXAMPLES = {"digits": "0.01", "fashion": "0.005"}  # what may be lost
HEAD = (
    "| network | what runs | p50 ms | times as fast | top-1 | drop, 95 % interval | MB |\n|---|---|---|---|---|---|---|"
)


def table(results: list[dict[str, Any]]) -> str:
    """Markdown: for each result the baselines and the winner, and where it was measured."""
    lines = [HEAD]
    for result in results:
        final = [*result["baselines"], *([result["winner"]] if result["winner"] else [])]
        rows = [r for r in final if r["split"] == final[0]["split"]]  # without the slower way to run eager torch
        lines += [line(result["task"] if i == 0 else "", row, row is result["winner"]) for i, row in enumerate(rows)]
    where = results[0]["conditions"]
    said = f"{where['cpu']}, {where['cores']} cores, {where['date'][:10]}"
    return "\n".join(
        [
            *lines,
            "",
            f"Measured by `benchmarks/results_table.py` on {said}. The first row of each network is the original.",
        ]
    )


def line(network: str, row: dict[str, Any], won: bool) -> str:
    low, high = row["accuracy_drop_ci95"] or (float("nan"),) * 2
    ours = f"`{row['recipe']}` on " if won else ""
    drop = f"{row['accuracy_drop']:+.4f} [{low:+.4f}, {high:+.4f}]" if row["accuracy_drop"] is not None else ""
    cells = [
        network,
        f"{ours}`{row['engine']}`",
        f"{row['latency_p50_ms']:.3f}",
        f"{row['speedup']:.2f}",
        f"{row['accuracy']:.4f}",
        drop,
        f"{row['size_mb']:.2f}",
    ]
    return "| " + " | ".join(f"**{c}**" if won and c else c for c in cells) + " |"


def place(readme: str, made: str) -> str:
    """The text with what stands between the markers replaced.

    Raises:
        ValueError: the markers are not there, once each.
    """
    if readme.count(BEGIN) != 1 or readme.count(END) != 1:
        raise ValueError(f"the text needs one line {BEGIN} and one line {END}")
    before, _, rest = readme.partition(BEGIN)
    return f"{before}{BEGIN}\n{made}\n{END}{rest.partition(END)[2]}"


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument(
        "results", nargs="*", type=Path, help="what `hasten boost --json` wrote; none: the examples are run"
    )
    ask.add_argument("--readme", type=Path, default=ROOT / "README.md")
    args = ask.parse_args()
    text = args.readme.read_text()
    place(text, "")  # before an hour of work
    results = [json.loads(p.read_text()) for p in args.results] or [
        boost(ROOT / "examples" / name / "task.py", "--max-drop", drop, output=ROOT / "out" / name)
        for name, drop in EXAMPLES.items()
    ]
    args.readme.write_text(place(text, table(results)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
