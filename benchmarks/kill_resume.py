"""Does a search that is killed at ten random moments go on where it was?

    python benchmarks/kill_resume.py [--kills 10] [--seed 0]

Runs `hasten boost` on the digits with ONNX Runtime alone, kills the whole process group with SIGKILL, resumes with
`--resume`, again and again. After every kill the store is read: a trial that had ended must be as it was, and not have
been started again. A run that ends before its kill counts as none; the next one begins anew.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from bar import bar
from commands import HASTEN, ROOT

DELAY_S = (0.5, 30.0)  # from start to kill: reading, exporting, quantizing, baselines, candidates, the final
LONGEST_S = 900.0  # for one run; more is a hang
Rows = dict[str, tuple[str, int, str]]  # key -> status, times started, row


def stored(folder: Path) -> Rows:
    """The trials as a reader finds them after a kill; none when the store is not there yet."""
    path = folder / "trials.sqlite"
    if not path.exists():
        return {}
    with sqlite3.connect(path, timeout=30) as store:
        try:
            rows = store.execute("select key, status, started, row from trials").fetchall()
        except sqlite3.OperationalError:  # killed before the tables were there
            return {}
    return {key: (status, started, row) for key, status, started, row in rows}


def ended(rows: Rows) -> Rows:
    return {key: row for key, row in rows.items() if row[0] != "pending"}


def run(bundle: Path, delay_s: float | None) -> int | None:
    """Start or go on; killed after `delay_s`. The exit code, or None when it was killed."""
    task = ROOT / "examples" / "digits" / "task.py"
    command = [*HASTEN, "boost", str(task), "-o", str(bundle), "--engine", "onnxruntime", "--resume", "-q"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        return process.wait(delay_s or LONGEST_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        time.sleep(1)  # its children end when they notice
        return None


def clear(bundle: Path) -> None:
    for folder in (bundle, bundle.with_name(f"{bundle.name}.trials")):
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--kills", type=int, default=10)
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("-o", "--output", type=Path, default=ROOT / "out" / "killed")
    args = ask.parse_args()
    bundle, trials = args.output, args.output.with_name(f"{args.output.name}.trials")
    bundle.parent.mkdir(parents=True, exist_ok=True)
    draw, kills, again, codes = random.Random(args.seed), 0, [], []
    known: Rows = {}
    clear(bundle)
    while kills < args.kills or (code := run(bundle, None)) is None:
        delay_s = draw.uniform(*DELAY_S)
        code = run(bundle, delay_s)
        now = stored(trials)
        again += [key for key, row in ended(known).items() if now.get(key) != row]
        known = now
        if code is None:
            kills += 1
            print(f"killed after {delay_s:.1f} s: {len(ended(now))} of {len(now)} trials have ended", flush=True)
        else:
            codes.append(code)
            clear(bundle)
            known = {}
    now = stored(trials)
    again += [key for key, row in ended(known).items() if now.get(key) != row]
    left = [key for key in now if key not in ended(now)]
    verified = subprocess.run([*HASTEN, "verify", str(bundle)], cwd=ROOT).returncode
    result = json.loads((trials / "result.json").read_text())
    passed = [
        bar("kills, each followed by --resume", kills, str(args.kills), kills == args.kills),
        bar("finished trials that ran again", len(again), "0", not again),
        bar("trials left without an end", len(left), "0", not left),
        bar("exit codes of the runs that were left to end", [*codes, code], "0", not any([*codes, code])),
        bar("winner", result["winner"] and result["winner"]["recipe"], "one", bool(result["winner"])),
        bar("hasten verify on the bundle: exit code", verified, "0", verified == 0),
    ]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
