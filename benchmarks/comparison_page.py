"""docs/comparison.md, made from docs/comparison.json, which is a result.json of `hasten compare`.

python benchmarks/comparison_page.py [RESULT.json]      the result takes the place of the one that is kept
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from commands import ROOT
from hasten.report.comparison import answer, columns, rows

KEPT, PAGE = ROOT / "docs" / "comparison.json", ROOT / "docs" / "comparison.md"


def rendered(result: dict[str, Any]) -> str:
    """The page."""
    where = result["conditions"]
    samples = ", ".join(f"{count:,} {part}" for part, count in result["samples"].items())
    shown = [c for c in columns(result) if c.head]
    lines = [
        f"# What each technique gives: {result['task']}",
        f"`{result['command']}`, on {where['cpu']}, {where['cores']} cores, "
        f"{where['date'][:10]}; samples: {samples}; techniques train for at most {result['epochs']} epochs.",
        "",
        f"Speedups are over the model as it is on `{result['reference']}`, the fastest engine at f32, and drops are of",
        f"{result['metric']['name']} on validate, both with a 95 % interval. `heal` is the control: training alone.",
        "",
        result["verdict"] + ".",
        "",
        *_table([c.head for c in shown], [[c.text(row) for c in shown] for row in rows(result)]),
        "## On what it depends",
        "Measured, not judged: whether a technique applies to each network of the zoo and gives the same there (after",
        "one short epoch: these speedups say nothing of accuracy), and whether its speedup is the same on each engine",
        "against itself.",
        "",
        *_table(
            ["technique", "architecture-dependent?", "evidence", "hardware-dependent?", "evidence"],
            [
                [d["technique"], answer(d["architecture"]["depends"]), d["architecture"]["said"],
                 answer(d["hardware"]["depends"]), d["hardware"]["said"]]
                for d in result["dependence"]
            ],
        ),
        "Made by `benchmarks/comparison_page.py`.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _table(heads: list[str], cells: list[list[str]]) -> list[str]:
    lines = [heads, ["---"] * len(heads), *([c.replace("|", "/") for c in line] for line in cells)]
    return [*(f"| {' | '.join(line)} |" for line in lines), ""]


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("result", type=Path, nargs="?")
    args = ask.parse_args()
    if args.result:
        shutil.copyfile(args.result, KEPT)
    PAGE.write_text(rendered(json.loads(KEPT.read_text())))


if __name__ == "__main__":
    main()
