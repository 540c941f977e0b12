"""Make a trained network fast on this machine, and prove it: the winner becomes a bundle."""

import argparse

from hasten.cli._arguments import duration, positive, recipe, share
from hasten.cli._outcome import Outcome
from hasten.search.progress import Progress


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "task", metavar="TASK|MODEL.onnx", help="a task.py that defines `task = Task(...)`, or an ONNX file"
    )
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="the bundle; DIR.trials keeps every trial")
    parser.add_argument(
        "--max-drop",
        type=share,
        default=0.01,
        metavar="D",
        help="what may be lost, in the metric's unit: the upper end of the 95 %% interval (default 0.01)",
    )
    aim = parser.add_mutually_exclusive_group()
    aim.add_argument("--speedup", type=positive, metavar="X", help="over the original; less is a no")
    aim.add_argument("--latency-ms", type=positive, metavar="L", help="p50 to reach; more is a no")
    parser.add_argument(
        "--time",
        type=duration,
        default=1200.0,
        metavar="T",
        help="no candidate is started later than this: 90s, 20m, 1h30m (default 20m)",
    )
    parser.add_argument("--engine", action="append", default=[], metavar="E", help="only this one; may be repeated")
    parser.add_argument(
        "--recipe",
        action="append",
        default=[],
        metavar="R",
        help="try this too, e.g. 'simplify > quantize(method=nncf)', or @FILE; may be repeated",
    )
    data = parser.add_argument_group(
        "for an ONNX file", "archives (.npz) or folders of .npy; keys: input names, target"
    )
    data.add_argument("--calibrate", metavar="F", help="typical inputs, a few hundred")
    data.add_argument("--validate", metavar="F", help="chooses between candidates")
    data.add_argument("--test", metavar="F", help="used once, for the final figure")
    data.add_argument("--metric", metavar="M", help="top1, top5, mse, cosine; agreement where there are no labels")
    parser.add_argument("--resume", action="store_true", help="go on with the run in DIR.trials")


def run(arguments: argparse.Namespace, progress: Progress) -> Outcome:
    from hasten import find
    from hasten.boost import boost
    from hasten.cli._door import DATA_OPTIONS, task_of
    from hasten.errors import UsageError
    from hasten.report.html import require
    from hasten.report.table import result_tables
    from hasten.search.budget import Budget

    require()  # the report comes last: what it lacks is said first
    for name in arguments.engine:
        find.engine(name)
    if not arguments.task.endswith(".py") and arguments.validate is None:
        raise UsageError("an ONNX file comes without data", "add --validate F.npz, and --calibrate F.npz for INT8")
    result = boost(
        task_of(arguments.task, **{name: getattr(arguments, name) for name in DATA_OPTIONS}),
        arguments.output,
        Budget(arguments.max_drop, arguments.speedup, arguments.latency_ms, arguments.time),
        engines=arguments.engine,
        recipes=[recipe(text) for text in arguments.recipe],
        resume=arguments.resume,
        seed=arguments.seed,
        progress=progress,
        command=arguments.command,
    )
    shown = result_tables(result)
    if result["winner"] is None:
        return Outcome(result, shown, result["verdict"], exit_code=1)
    return Outcome(result, [*shown, f"bundle: {arguments.output}   report: {arguments.output}/report.html"])
