"""Measure what each compression technique gives on this machine, alone and together: one table. Or what views add."""

import argparse

from hasten.cli._arguments import recipe, share
from hasten.cli._outcome import Outcome
from hasten.search.progress import Progress

MAX_DROP = 0.01


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "task", metavar="TASK|MODEL.onnx|BUNDLE", help="a task.py that defines `task = Task(...)`, or an ONNX file"
    )
    parser.add_argument("-o", "--output", metavar="DIR", help="where every trial, result.json and report.html go")
    parser.add_argument("--quick", action="store_true", help="fewer epochs on fewer samples: under an hour, not four")
    parser.add_argument("--technique", action="append", default=[], metavar="T", help="only this one; may be repeated")
    parser.add_argument(
        "--recipe",
        action="append",
        default=[],
        metavar="R",
        help="a further row, e.g. 'prune(0.5, epochs=8)', or @FILE",
    )
    parser.add_argument("--engine", action="append", default=[], metavar="E", help="only this one; may be repeated")
    parser.add_argument(
        "--zoo", metavar="DIR", help="task files of further networks: shows which techniques depend on the architecture"
    )
    parser.add_argument(
        "--max-drop",
        type=share,
        metavar="D",
        help="what may be lost, in the metric's unit: the upper end of the 95 %% interval (default 0.01)",
    )
    parser.add_argument(
        "--fail-if",
        action="append",
        default=[],
        metavar="COND",
        help="the answer is no where this holds of a row: p50>+5%%, drop>0.01, speedup<1.5; may be repeated",
    )
    parser.add_argument("--against", metavar="FILE", help="an earlier result.json, which +5%% is relative to")
    data = parser.add_argument_group(
        "for an ONNX file", "archives (.npz) or folders of .npy; keys: input names, target"
    )
    data.add_argument("--calibrate", metavar="F", help="typical inputs, a few hundred")
    data.add_argument("--validate", metavar="F", help="chooses between candidates")
    data.add_argument("--test", metavar="F", help="for the figure that nobody chose by")
    data.add_argument("--metric", metavar="M", help="top1, top5, mse, cosine; agreement where there are no labels")
    parser.add_argument("--resume", action="store_true", help="go on with the run in DIR")
    views = parser.add_argument_group("what looking at each sample several times adds and costs, and no technique")
    views.add_argument(
        "--tta",
        nargs="?",
        const="",
        metavar="VIEWS",
        help="choose among these, hflip,shift=2; without them the usual ones",
    )
    views.add_argument("--merge", metavar="HOW", help="mean, geometric, max or vote (default mean); mean:softmax")
    views.add_argument("--task", dest="of_task", metavar="TASK", help="of a BUNDLE: the task whose data is looked at")


def run(arguments: argparse.Namespace, progress: Progress) -> Outcome:
    from hasten import find
    from hasten.cli._door import DATA_OPTIONS, task_of, tasks_in
    from hasten.cli._tta import compared
    from hasten.compare import compare
    from hasten.errors import UsageError
    from hasten.measure.machine import cpu
    from hasten.report.comparison import comparison_tables
    from hasten.report.kept import read
    from hasten.search.condition import Condition

    for name in arguments.technique:
        find.technique(name)
    for name in arguments.engine:
        find.engine(name)
    if arguments.tta is not None:
        return compared(arguments, progress)
    if lost := [option for option, value in (("merge", arguments.merge), ("task", arguments.of_task)) if value]:
        raise UsageError(f"--{lost[0]} goes with --tta", "add it, or leave both away")
    if not arguments.output:
        raise UsageError("the following arguments are required: -o/--output", "say where the trials go: -o DIR")
    conditions = [Condition.parse(text) for text in arguments.fail_if]
    before = read(arguments.against, "comparison") if arguments.against else None
    for condition in conditions:
        condition.check(before, cpu())
    if not arguments.task.endswith(".py") and arguments.validate is None:
        raise UsageError("an ONNX file comes without data", "add --validate F.npz, and --calibrate F.npz for INT8")
    result = compare(
        task_of(arguments.task, **{name: getattr(arguments, name) for name in DATA_OPTIONS}),
        arguments.output,
        quick=arguments.quick,
        techniques=arguments.technique,
        recipes=[recipe(text) for text in arguments.recipe],
        engines=arguments.engine,
        zoo=tasks_in(arguments.zoo) if arguments.zoo else (),
        max_drop=MAX_DROP if arguments.max_drop is None else arguments.max_drop,
        resume=arguments.resume,
        seed=arguments.seed,
        progress=progress,
        command=arguments.command,
    )
    shown = [*comparison_tables(result), f"report: {arguments.output}/report.html"]
    broken = [said for condition in conditions for said in condition.met(result, before)]
    return Outcome(result, shown, "; ".join(broken), 1 if broken else 0)
