"""Average several bundles of one task into one: weights fitted, the fastest form raced, or a cascade."""

import argparse

from hasten.cli._arguments import share
from hasten.cli._outcome import Outcome
from hasten.search.progress import Progress


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundles", nargs="+", metavar="BUNDLE", help="two folders or more that `hasten boost` has made")
    parser.add_argument("--task", required=True, metavar="TASK", help="the task file that they are for")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="the bundle")
    parser.add_argument(
        "--max-drop",
        type=share,
        default=0.001,
        metavar="D",
        help="what a cascade, or one file for all, may lose against the ensemble on validate (default 0.001)",
    )
    parser.add_argument(
        "--cascade", action="store_true", help="the cheapest member answers where it is sure, the ensemble elsewhere"
    )
    parser.add_argument(
        "--layout", choices=("merged", "stages"), help="one file for all, or one each (default: the faster of the two)"
    )
    parser.add_argument("--tta", default="", metavar="VIEWS", help="a further row: those of these views that help")


def run(arguments: argparse.Namespace, progress: Progress) -> Outcome:
    from hasten.bundle import Bundle
    from hasten.cli._door import gate
    from hasten.offline.ensemble.choose import Choice, ensemble
    from hasten.report.ensemble import tables
    from hasten.task import Task

    for folder in arguments.bundles:
        with Bundle.load(folder, verify=False) as bundle:
            gate(bundle)
    result = ensemble(
        arguments.bundles,
        Task.load(arguments.task),
        arguments.output,
        Choice(arguments.max_drop, arguments.cascade, arguments.layout, arguments.tta),
        seed=arguments.seed,
        progress=progress,
        command=arguments.command,
    )
    if result["bundle"] is None:
        return Outcome(result, tables(result), result["verdict"], exit_code=1)
    return Outcome(result, [*tables(result), result["verdict"]])
