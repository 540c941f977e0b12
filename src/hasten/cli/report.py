"""Write report.html anew from what a run has kept, and print its table."""

import argparse

from hasten.cli._outcome import Outcome
from hasten.search.progress import Progress


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder",
        metavar="DIR",
        help="given to `boost -o` or `compare -o`; or DIR.trials, or a bundle from elsewhere",
    )


def run(arguments: argparse.Namespace, progress: Progress) -> Outcome:
    from hasten import files
    from hasten.report import comparison, html
    from hasten.report.kept import kept
    from hasten.report.table import result_tables

    result, place = kept(arguments.folder)
    compared = "rows" in result
    files.write(place, (comparison if compared else html).page(result))
    tables = comparison.comparison_tables(result) if compared else result_tables(result)
    return Outcome(result, [*tables, f"report: {place}"])
