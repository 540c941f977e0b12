"""The comparison of the README, quick preset, killed twice on the way: does it go on, and end within the hour?

    python benchmarks/compared.py [--kills 2] [--seed 0]

After each SIGKILL the store is read: what had been measured must be as it was in the end, and started once.
The minutes are those of all parts together.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from bar import bar
from commands import HASTEN, ROOT
from kill_resume import Rows, ended, stored

BETWEEN_S, MINUTES = (240.0, 720.0), 60.0
COMMAND = [*HASTEN, "compare", "examples/fashion/task.py", "--quick", "--zoo", "examples/zoo", "--resume", "-o"]


def run(output: Path, delay_s: float | None) -> int | None:
    """Start or go on; killed after `delay_s`. The exit code, or None when it was killed."""
    process = subprocess.Popen([*COMMAND, str(output)], cwd=ROOT, start_new_session=True)
    try:
        return process.wait(delay_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        time.sleep(1)  # its children end when they notice
        return None


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--kills", type=int, default=2)
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("-o", "--output", type=Path, default=Path("out") / "compared", help="seen from the repository")
    args = ask.parse_args()
    os.chdir(ROOT)
    shutil.rmtree(args.output, ignore_errors=True)
    draw, began = random.Random(args.seed), time.monotonic()
    known: Rows = {}
    kills = 0
    for _ in range(args.kills):
        kills += run(args.output, draw.uniform(*BETWEEN_S)) is None
        known |= ended(stored(args.output))
        print(f"killed {kills} times; {len(known)} trials have ended", flush=True)
    code = run(args.output, None)
    minutes, now = (time.monotonic() - began) / 60, stored(args.output)
    again = [key for key, row in known.items() if now.get(key) != row]
    result = json.loads((args.output / "result.json").read_text()) if code == 0 else {"rows": [], "zoo": []}
    rows, networks = result["rows"], {g["network"] for g in result["zoo"]}
    roles = {
        role: sum(r["role"] == role and r["best"] is not None for r in rows)
        for role in ("control", "alone", "together")
    }
    passed = [
        bar("kills, each followed by --resume", kills, str(args.kills), kills == args.kills),
        bar("exit code", code, "0", code == 0),
        bar("finished trials that ran again", len(again), "0", not again),
        bar("minutes in all", minutes, f"at most {MINUTES:g}", minutes <= MINUTES),
        bar("rows that were measured", str(roles), "some of each", all(roles.values())),
        bar("networks of the zoo", len(networks), "6", len(networks) == 6),
    ]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
