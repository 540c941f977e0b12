"""Is the C++ free of races, wild memory and undefined behaviour, and does no damaged bundle bring it down?

    python benchmarks/sanitizers.py [--seconds 60]

ThreadSanitizer runs the tests of core and runtime with the null engine. AddressSanitizer and
UndefinedBehaviorSanitizer run all of them, the golden bundles on OpenVINO among them, and then the fuzzer.
"""

import argparse
import os
import random
import re
import subprocess
import sys
from pathlib import Path

from bar import bar
from commands import ROOT

TOOLS = Path(sys.executable).parent
MEMORY = "address,undefined"


def build(kind: str, *options: str) -> Path:
    """The tests with a sanitizer compiled in.

    Raises:
        RuntimeError: they do not compile.
    """
    folder = ROOT / "build" / kind.partition(",")[0]
    configure = [
        *(TOOLS / "cmake", "-S", ROOT / "cpp", "-B", folder, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={TOOLS / 'ninja'}"),
        *(f"-DHASTEN_SANITIZE={kind}", "-DHASTEN_RUNTIME=ON", f"-DHASTEN_PYTHON={sys.executable}", *options),
    ]
    for command in (configure, [TOOLS / "cmake", "--build", folder]):
        ended = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        if ended.returncode:
            raise RuntimeError((ended.stdout + ended.stderr)[-2000:])
    return folder


def found(folder: Path, name: str) -> Path:
    return next(p for p in folder.rglob(name) if p.is_file())


def tests(folder: Path, what: str, env: dict[str, str]) -> bool:
    """All tests but the fuzzer, which has a bar of its own."""
    words = [TOOLS / "ctest", "--test-dir", folder, "--output-on-failure", "-E", "^fuzz$"]
    ended = subprocess.run(list(map(str, words)), capture_output=True, text=True, env=os.environ | env)
    total = re.search(r"tests passed(?:, (\d+) tests failed)? out of (\d+)", ended.stdout)
    if ended.returncode:
        print(ended.stdout[-4000:])
    figure = f"{total[2]} tests, {total[1] or 0} failed" if total else "none ran"
    return bar(what, figure, "0 failed", ended.returncode == 0 and total is not None)


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--seconds", type=int, default=60, help="of the fuzzer")
    args = ask.parse_args()
    passed = [tests(build("thread", "-DHASTEN_OPENVINO=OFF"), "ThreadSanitizer, null engine", {})]
    folder = build(MEMORY)
    env = {
        "LD_PRELOAD": str(found(folder, "libdeepbind.so")),
        "ASAN_OPTIONS": "verify_asan_link_order=0:detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    passed.append(tests(folder, "AddressSanitizer and UndefinedBehaviorSanitizer, OpenVINO", env))
    run = [found(folder, "hasten-run"), ROOT / "spec" / "golden" / "video", "--verify"]
    ended = subprocess.run(list(map(str, run)), capture_output=True, text=True, env=os.environ | env)
    passed.append(bar("the same, hasten-run --verify: exit code", ended.returncode, "0", ended.returncode == 0))
    seed = random.SystemRandom().randrange(10**9)
    words = [str(found(folder, "fuzz")), str(ROOT / "spec"), str(args.seconds), str(seed)]
    ended = subprocess.run(words, capture_output=True, text=True, env=os.environ | env)
    said = (ended.stdout.strip().splitlines() or [""])[-1]
    if ended.returncode:
        print(ended.stdout[-500:], ended.stderr[-4000:])
    what = f"the same, mutated bundles for {args.seconds} s from input {seed}: exit code {ended.returncode}"
    passed.append(bar(what, said or "nothing", "0, no crash, no hang, at most 256 MB at once", ended.returncode == 0))
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
