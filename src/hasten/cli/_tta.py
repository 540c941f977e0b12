"""`hasten compare WHAT --tta`: from words to a session on data with labels, and its views as tables."""

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from hasten.cli._outcome import Outcome
from hasten.search.progress import Progress

if TYPE_CHECKING:
    from hasten.offline.views.greedy import Looker

_OTHERS = ("output", "quick", "technique", "recipe", "zoo", "fail_if", "against", "calibrate", "resume", "max_drop")


def compared(arguments: argparse.Namespace, progress: Progress) -> Outcome:
    """What each view adds and costs, and the set that is worth it.

    Raises:
        UsageError: options that say something of techniques; or as hasten.offline.views.greedy.
    """
    from hasten.errors import UsageError
    from hasten.offline.views.greedy import greedy
    from hasten.report.views import view_tables

    for name in _OTHERS:
        if getattr(arguments, name) not in (None, False, []):
            option = "-o" if name == "output" else f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} is of the comparison of techniques", "leave it away with --tta")
    if len(arguments.engine) > 1:
        raise UsageError("--tta looks through one engine", "name one")
    with _looker(arguments, progress) as (looker, engine):
        found = greedy(looker, arguments.tta, arguments.merge or "mean", seed=arguments.seed, progress=progress)
    result = {"what": arguments.task, "engine": engine, **found, "seed": arguments.seed}
    return Outcome(result, view_tables(result))


@contextmanager
def _looker(arguments: argparse.Namespace, progress: Progress) -> "Iterator[tuple[Looker, str]]":
    """The session, and its engine: of a bundle that of its stages, of a task the first that is here unless one is
    named."""
    from hasten.bundle import Bundle, is_bundle
    from hasten.cli._door import DATA_OPTIONS, gate, task_of
    from hasten.cli._subject import engines_of
    from hasten.engine import Session
    from hasten.errors import UsageError
    from hasten.export import export
    from hasten.model import OnnxModel
    from hasten.offline.views.greedy import Looker

    bundled = is_bundle(arguments.task)
    if bundled and (not arguments.of_task or arguments.engine):
        why = "--engine is for a task or an ONNX file" if arguments.engine else "a bundle comes without labels"
        raise UsageError(why, "leave it away" if arguments.engine else "add --task task.py, whose data are looked at")
    if arguments.of_task and not bundled:
        raise UsageError("--task is for a bundle", "leave it away")
    if not bundled and not arguments.task.endswith(".py") and arguments.validate is None:
        raise UsageError("an ONNX file comes without data", "add --validate F.npz with labels, and --metric")
    given = {name: getattr(arguments, name) for name in DATA_OPTIONS}
    progress.stage("reading the model and its data")
    task = task_of(arguments.of_task if bundled else arguments.task, **given)
    with ExitStack() as stack:
        if bundled:
            bundle = stack.enter_context(Bundle.load(arguments.task, verify=False))
            gate(bundle)
            bundle.verify()
            session, pipeline = Session(bundle.flow, bundle.signature), bundle.pipeline
            engine = ", ".join(dict.fromkeys(str(stage.engine) for stage in bundle.stages))
        else:
            chosen = engines_of(arguments.engine, torch=False)[0]
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="hasten-")))
            original, pipeline, engine = task.original, task.pipeline, str(chosen)
            model = original if isinstance(original, OnnxModel) else export(original, task.sample()).model
            session = stack.enter_context(chosen.compile(model.save(folder / "model.onnx")))
        seen = task.through(pipeline)
        test = seen.split("test") if seen.test is not None else None
        yield Looker(session, pipeline, task.measure, seen.split("validate"), test), engine
