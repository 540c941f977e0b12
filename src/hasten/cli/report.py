"""Write report.html anew from what a run has kept, and print its table."""

import argparse

from hasten.cli._outcome import Outcome
from hasten.search.progress import Progress


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", metavar="DIR", help="the folder given to `boost -o`, its DIR.trials, or a bundle from elsewhere"
    )


def run(arguments: argparse.Namespace, progress: Progress) -> Outcome:
    from hasten import files
    from hasten.report.html import page
    from hasten.report.kept import kept
    from hasten.report.table import result_tables

    result, place = kept(arguments.folder)
    files.write(place, page(result))
    return Outcome(result, [*result_tables(result), f"report: {place}"])
