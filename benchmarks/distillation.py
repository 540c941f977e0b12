"""Does a student learn more from a teacher than without one?

python benchmarks/distillation.py [--epochs N]

The fashion task's student of 9 MMACs, trained towards labels and the original's answers, and towards labels alone, with
the same steps: three seeds, the gain paired image by image.
"""

import argparse
import sys

import numpy as np

from bar import bar
from contest import upper_drop
from hasten.measure.flops import count
from made import example, made, minutes, right

SEEDS, MMACS, MINUTES = 3, 15.0, 45.0


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--epochs", type=int, default=15)
    args = ask.parse_args()
    task, students = example("fashion/task.py"), []
    rows: dict[str, list[np.ndarray]] = {"taught": [], "alone": []}
    for seed in range(SEEDS):
        for name, how in (("taught", "teacher=0.9, temperature=2"), ("alone", "teacher=0")):
            students.append(made(task, f"distil(student=small, epochs={args.epochs}, {how}, seed={seed})"))
            rows[name].append(right(task, students[-1]))
        print(f"seed {seed}: taught {rows['taught'][-1].mean():.4f}, alone {rows['alone'][-1].mean():.4f}", flush=True)
    taught, alone = (np.mean(r, 0) for r in rows.values())
    lost, most = upper_drop(alone, taught, None)
    took, macs = minutes(*students), (count(students[0]).macs or 0) / 1e6
    passed = [
        bar("MMACs of the student", macs, f"at most {MMACS:g}", macs <= MMACS),
        bar(f"gain from a teacher on test, {SEEDS} seeds", -lost, "above 0", lost < 0),
        bar("lower end of its 95 % interval", -most, "above 0", most < 0),
        bar("minutes of training", took, f"at most {MINUTES:g}", took <= MINUTES),
    ]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
