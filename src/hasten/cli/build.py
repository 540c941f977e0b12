"""Build the C++ runtime once, and say where it is."""

import argparse

from hasten.cli._outcome import Outcome
from hasten.search.progress import Progress


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", help="a folder that `hasten boost` has made; the build must run it")


def run(arguments: argparse.Namespace, progress: Progress) -> Outcome:
    from hasten import cpp

    progress.stage("building the C++ runtime, unless this version has been built")
    folder = cpp.build()
    progress.stage("loading the bundle with it")
    ended = cpp.call(arguments.bundle, "--load")
    said = f"{cpp.program()} runs {arguments.bundle}; for find_package(hasten): -Dhasten_DIR={cpp.get_cmake_path()}"
    result = {
        "bundle": arguments.bundle,
        "program": str(cpp.program()),
        "cmake_path": str(cpp.get_cmake_path()),
        "folder": str(folder),
        "seed": arguments.seed,
    }
    return Outcome(result, (), ended.stderr.strip(), 1) if ended.returncode else Outcome(result, [said])
