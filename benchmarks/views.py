"""Looking several times at each Fashion-MNIST image: views chosen on validate raise the accuracy on test.

python benchmarks/views.py [--views VIEWS]
"""

import argparse
import json
import subprocess
import sys

from bar import bar
from commands import HASTEN, ROOT

MERGE = "mean:softmax"  # the network gives logits


def main() -> int:
    ask = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    ask.add_argument("--views", help="choose among these; without it, the usual ones")
    views = ask.parse_args().views
    told = ROOT / "out" / "views.json"
    told.parent.mkdir(parents=True, exist_ok=True)
    words = ["compare", "examples/fashion/task.py", "--tta", *([views] if views else [])]
    if subprocess.run([*HASTEN, *words, "--merge", MERGE, "--json", str(told)], cwd=ROOT).returncode:
        return 1
    result = json.loads(told.read_text())
    test = result["chosen"]["test"]
    gain, interval = (test["gain"], test["gain_ci95"]) if test else (0.0, [0.0, 0.0])
    bought = f"{result['chosen']['runs']} runs ({result['chosen']['tta']}), {result['chosen']['cost']:.2f} plain calls"
    return 0 if bar(
        f"fashion, {bought}: gain on test over {result['plain']['test']}, paired [{interval[0]:+.4f}, "
        f"{interval[1]:+.4f}]", float(gain), "above 0", gain > 0,
    ) else 1  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
