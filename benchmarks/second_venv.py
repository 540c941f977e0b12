"""Does a bundle run in another virtual environment, with numpy and its engine alone?

    python benchmarks/second_venv.py BUNDLE

Makes a fresh environment, installs hasten without its dependencies, and beside it only what running needs.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from bar import bar
from commands import ROOT

NEEDED = ("numpy", "jsonschema", "rich")
ABSENT = ("torch", "onnx", "nncf")
SCRIPT = """
import importlib.util, sys
import hasten
assert not any(map(importlib.util.find_spec, {absent!r})), "it is not alone"
with hasten.Bundle.load({bundle!r}) as bundle:
    bundle.verify()
    for name, array in bundle.run(bundle.golden.raw(bundle.folder)).items():
        print(name, array.shape)
"""


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("bundle", type=Path, nargs="?", default=ROOT / "out" / "digits")
    bundle = ask.parse_args().bundle.resolve()
    stages = json.loads((bundle / "bundle.json").read_text())["stages"]
    engines = sorted({s["engine"]["name"] for s in stages})
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = str(Path(folder) / "bin" / "python")
        pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, "-c", str(ROOT / "constraints.txt"), *NEEDED, *engines], check=True)
        subprocess.run([*pip, "--no-deps", str(ROOT)], check=True)
        runs = [
            ("Bundle.load, verify and run", ["-c", SCRIPT.format(absent=ABSENT, bundle=str(bundle))]),
            (
                "hasten verify",
                ["-c", "import sys; from hasten.cli import main; sys.exit(main())", "verify", str(bundle)],
            ),
        ]
        passed = []
        for name, arguments in runs:
            ended = subprocess.run([python, *arguments], cwd=folder, capture_output=True, text=True)
            print((ended.stdout + ended.stderr).strip())
            passed.append(
                bar(f"{name} without {', '.join(ABSENT)}: exit code", ended.returncode, "0", not ended.returncode)
            )
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
