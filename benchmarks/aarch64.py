"""Does cpp/core give the same bytes on 64-bit ARM? Its tests, golden cases among them, built by a cross compiler.

    python benchmarks/aarch64.py

The compiler and qemu are Debian's, unpacked into the cache; nothing is installed.
"""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

from bar import bar
from commands import ROOT
from hasten.debian import unpacked

COMPILER = (
    *(f"{part}-12-aarch64-linux-gnu" for part in ("g++", "gcc", "cpp")),
    *("binutils-aarch64-linux-gnu", "gcc-12-cross-base", "libstdc++-12-dev-arm64-cross", "libgcc-12-dev-arm64-cross"),
    *("libc6-dev-arm64-cross", "libc6-arm64-cross", "linux-libc-dev-arm64-cross"),
    *("libstdc++6-arm64-cross", "libgcc-s1-arm64-cross"),
)
BUILD = ROOT / "build" / "aarch64"


def run(cross: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """With the libraries of the unpacked assembler and linker."""
    env = os.environ | {"LD_LIBRARY_PATH": str(cross / "usr/lib/x86_64-linux-gnu")}
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, env=env)


def main() -> int:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    cross, qemu = unpacked(*COMPILER), unpacked("qemu-user-static") / "usr/bin/qemu-aarch64-static"
    tools = Path(sys.executable).parent
    steps = [
        (
            *(tools / "cmake", "-S", ROOT / "cpp", "-B", BUILD, "-G", "Ninja"),
            *(f"-DCMAKE_MAKE_PROGRAM={tools / 'ninja'}", f"-DCMAKE_TOOLCHAIN_FILE={ROOT / 'cpp/cmake/aarch64.cmake'}"),
            *(f"-DHASTEN_CROSS={cross}", f"-DHASTEN_QEMU={qemu}"),
        ),
        (tools / "cmake", "--build", BUILD),
    ]
    for step in steps:
        ended = run(cross, *step)
        if ended.returncode:
            print((ended.stdout + ended.stderr)[-2000:])
            return 1
    told = run(cross, tools / "ctest", "--test-dir", BUILD, "--output-on-failure")
    print(told.stdout[-1500:])
    programs = [p for p in BUILD.rglob("test_*") if p.is_file() and not p.suffix]
    machines = {p.read_bytes()[18] for p in programs}  # of the ELF header: 0xB7 is AArch64
    found = re.search(r"tests passed(?:, (\d+) tests failed)? out of (\d+)", told.stdout)
    figure = f"{found[2]} tests, {found[1] or 0} failed" if found else "none ran"
    passed = told.returncode == 0 and found is not None and machines == {0xB7}
    cases = sum(line.startswith("source=") for line in (ROOT / "spec/golden-pixels/cases.txt").read_text().splitlines())
    return 0 if bar(f"core on aarch64, {cases} golden pixel cases among its tests", figure, "0 failed", passed) else 1


if __name__ == "__main__":
    sys.exit(main())
