"""Replay a bundle's golden cases: does this machine give the answers that were measured?"""

import argparse

from hasten.cli._outcome import Outcome
from hasten.search.progress import Progress


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", help="a folder that `hasten boost` has made")
    parser.add_argument("--cpp", action="store_true", help="does the C++ runner give the same, stage by stage?")
    parser.add_argument("--task", metavar="TASK", help="a task file: has its pipeline drifted from the bundle's?")


def run(arguments: argparse.Namespace, progress: Progress) -> Outcome:
    from hasten.bundle import Bundle
    from hasten.cli._door import gate
    from hasten.diagnose.drift import behind, drift
    from hasten.errors import Unmet
    from hasten.task import Task

    task = Task.load(arguments.task) if arguments.task else None
    progress.stage("checking the files and replaying the golden cases")
    with Bundle.load(arguments.bundle, verify=False) as bundle:
        gate(bundle)
        result = {"bundle": arguments.bundle, "cases": len(bundle.golden.cases), "seed": arguments.seed}
        try:
            bundle.verify()
        except Unmet as fault:
            return Outcome(result | {"verified": False, "reason": str(fault)}, (), str(fault), fault.exit_code)
        if task and (moved := drift(bundle.pipeline, behind(bundle, task).pipeline)):
            said = f"{arguments.task} has drifted from {arguments.bundle}: {'; '.join(moved)}"
            return Outcome(result | {"verified": False, "reason": said}, (), said, Unmet.exit_code)
        if arguments.cpp:
            from hasten.diagnose.parity import parity

            progress.stage("comparing with the C++ runner")
            if said := parity(bundle, arguments.seed):
                return Outcome(result | {"verified": False, "reason": said}, (), said, Unmet.exit_code)
        engines = ", ".join(str(stage.engine) for stage in bundle.stages)
    shown = f"{arguments.bundle}: {result['cases']} golden cases give their answers again, on {engines}"
    return Outcome(result | {"verified": True, "reason": ""}, [shown])
