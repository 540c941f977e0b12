"""Do `import hasten` and `hasten --help` start at once, without torch or an engine?

python benchmarks/startup.py
"""

import argparse
import re
import statistics
import subprocess
import sys
import time

from bar import bar

BOUND_S, REPEATS = 0.3, 11
HEAVY = ("torch", "onnxruntime", "openvino", "onnx", "nncf")
COMMANDS = {
    "import hasten": "import hasten",
    "hasten --help": "import sys; from hasten.cli import main; sys.exit(main(['--help']))",
}


def seconds(code: str) -> float:
    """Wall time of the median run of several, the first left out."""
    times = []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def imported(code: str) -> list[str]:
    """Which of HEAVY the code imports."""
    told = subprocess.run([sys.executable, "-X", "importtime", "-c", code], check=True, capture_output=True, text=True)
    names = {line.rpartition("|")[2].strip() for line in told.stderr.splitlines() if re.match("import time:", line)}
    return sorted(names & set(HEAVY))


def main() -> int:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    passed = []
    for name, code in COMMANDS.items():
        took, heavy = seconds(code), imported(code)
        passed.append(bar(f"{name}, seconds", took, f"under {BOUND_S}", took < BOUND_S))
        passed.append(bar(f"{name} imports", heavy or "nothing heavy", f"none of {', '.join(HEAVY)}", not heavy))
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
