"""Answer many samples with a bundle: images, manifests or arrays; a job that survives kills and bad inputs."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from hasten.cli._arguments import count
from hasten.cli._outcome import Outcome
from hasten.search.progress import Progress


def add(parser: argparse.ArgumentParser) -> None:
    from hasten.offline.output import FORMS

    parser.add_argument("bundle", metavar="BUNDLE", help="a folder made by boost")
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="image files, videos, folders of them, patterns; manifests (.csv, .parquet with a column path); .npz",
    )
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="OUT", help="a new folder for the answers")
    parser.add_argument("--format", choices=FORMS, default="jsonl", help="of the answers (default jsonl)")
    parser.add_argument("--outputs", action="store_true", help="write what the network gives beside the decisions")
    parser.add_argument("--prepared", action="store_true", help="arrays are tensors as the network takes them")
    parser.add_argument(
        "--with",
        dest="others",
        action="append",
        default=[],
        metavar="BUNDLE2",
        help="average with this bundle's answers, in equal parts; may be repeated; the mean is kept in OUT.bundle",
    )
    parser.add_argument(
        "--tta",
        metavar="VIEWS",
        help="look at each sample several times: hflip,shift=2,scale=1.1 and others, see docs/run.md",
    )
    parser.add_argument(
        "--merge",
        metavar="HOW",
        help="their answers by mean, geometric, max or vote (default mean); of what: mean:softmax",
    )
    parser.add_argument("--limit", type=count, metavar="N", help="the first N samples only")
    parser.add_argument("--errors-max", type=count, metavar="N", help="stop above N samples that cannot be answered")
    parser.add_argument(
        "--on", default="local", metavar="WHERE", help="local, ray, or ray=ADDRESS of a cluster (default local)"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the job that is in OUT")
    parser.add_argument("--dry-run", action="store_true", help="list and check, and write nothing")


def run(arguments: argparse.Namespace, progress: Progress) -> Outcome:
    from hasten.bundle import Bundle
    from hasten.cli._door import gate
    from hasten.errors import UsageError
    from hasten.offline import job
    from hasten.offline.views.merge import Merge
    from hasten.offline.views.view import parse

    if arguments.merge and not arguments.tta:
        raise UsageError("--merge says how answers to several views become one", "add --tta hflip")
    views, merge = parse(arguments.tta or ""), Merge.parse(arguments.merge or "mean")
    for folder in (arguments.bundle, *arguments.others):
        with Bundle.load(folder, verify=False) as bundle:
            gate(bundle)
    options = job.Options(
        arguments.format,
        arguments.outputs,
        arguments.prepared,
        tta=",".join(map(str, views)),
        merge=str(merge),
        limit=arguments.limit,
        errors_max=arguments.errors_max,
    )
    with _whole(arguments) as whole:
        result = job.run(
            whole,
            arguments.inputs,
            arguments.output,
            options,
            on=arguments.on,
            resume=arguments.resume,
            dry_run=arguments.dry_run,
            progress=progress,
        )
    if arguments.dry_run:
        first = ", ".join(result["first"])
        return Outcome(result, [f"{result['samples']} samples, the first of them {first}; nothing was written"])
    shown = f"{arguments.output}: {result['rows']} answers in {result['parts']} parts, each sample once"
    if result["errors"]:
        shown += f"; {result['errors']} samples have none, and errors.jsonl says why"
    return Outcome(result, [shown])


@contextmanager
def _whole(arguments: argparse.Namespace) -> Iterator[Path]:
    """The bundle that answers: the one named, or the mean of several, which a job that goes on finds where it was."""
    from hasten.offline.ensemble.mean import averaged

    bundles, out = [Path(arguments.bundle), *map(Path, arguments.others)], arguments.output.absolute()
    if len(bundles) == 1:
        yield bundles[0]
    elif arguments.dry_run:
        with TemporaryDirectory(prefix="hasten-") as scratch:
            yield averaged(bundles, Path(scratch) / "bundle")
    else:
        yield averaged(bundles, out.with_name(f"{out.name}.bundle"))
