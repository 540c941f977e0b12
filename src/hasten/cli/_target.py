"""What `hasten export` writes for a target: an engine's own file, or the folder of a board."""

import argparse
from typing import TYPE_CHECKING, Any

from hasten.cli._arguments import recipe
from hasten.cli._outcome import Outcome
from hasten.errors import InputError, UsageError
from hasten.search.progress import Progress

if TYPE_CHECKING:
    from hasten.data import Data
    from hasten.model import OnnxModel
    from hasten.task import Task


def add(parser: argparse.ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--engine", metavar="E", help="write this engine's own file instead: tensorrt_rtx, tensorrt")
    where.add_argument("--for", dest="board", metavar="BOARD", help="write the folder that this board needs")
    parser.add_argument("--recipe", metavar="R", help="do this first, e.g. 'quantize(method=placed, engine=tensorrt)'")
    parser.add_argument("--calibrate", metavar="F", help="for an ONNX file: typical inputs, for a recipe and a board")


def check(arguments: argparse.Namespace) -> None:
    """See that engine, board and recipe exist before anything is exported.

    Raises:
        UsageError: one does not, or -o is a folder where a file is written.
    """
    from hasten import find

    if arguments.engine:
        find.engine(arguments.engine)
    if arguments.board:
        find.board(arguments.board)
    elif arguments.output.is_dir():
        raise UsageError(f"{arguments.output} is a folder", "give the name of a file")
    ours = (arguments.output / "board.json").is_file()
    if arguments.board and arguments.output.is_dir() and not ours and any(arguments.output.iterdir()):
        raise UsageError(f"{arguments.output} holds other things", "give a new folder, or one made by --for")
    if arguments.recipe:
        arguments.recipe = recipe(arguments.recipe)


def named(arguments: argparse.Namespace) -> bool:
    return bool(arguments.engine or arguments.board)


def worked_on(model: "OnnxModel", task: "Task", arguments: argparse.Namespace, progress: Progress) -> "OnnxModel":
    """The model after the recipe.

    Raises:
        InputError: a step that has nothing to do.
        UsageError: a step for torch models, which an exported one is no longer.
    """
    from hasten.recipe import Recipe

    if not arguments.recipe:
        return model
    steps = Recipe.parse(arguments.recipe)
    if torch := [s for s in steps.steps if s.takes == "torch"]:
        raise UsageError(f"{torch[0]} works on the torch model", "run hasten boost, and export the file of its bundle")
    progress.stage(f"applying {steps}")
    return steps(model, task)


def made(
    model: "OnnxModel", task: "Task", arguments: argparse.Namespace, progress: Progress, how: dict[str, Any]
) -> Outcome:
    """Write what was named."""
    from hasten import files, find

    common = {"seed": arguments.seed, "signature": model.signature.to_json(), **how}
    if arguments.engine:
        engine = find.engine(arguments.engine)()
        progress.stage(f"building an engine of {arguments.engine}")
        plan = engine.build(model)
        files.write(arguments.output, plan)
        result = {"file": str(arguments.output), "engine": str(engine), "size_mb": len(plan) / 1e6, **common}
        return Outcome(result, [f"{arguments.output}: {engine}, {len(plan) / 1e6:.2f} MB; {engine.caveat}"])
    board = find.board(arguments.board)()
    progress.stage(f"writing the folder of {board.title}")
    about = board.write(model, _samples(model, task, arguments), arguments.output)
    shown = [f"{arguments.output}: {board.title}, {board.reads}; {about['caveat']}"]
    shown += [f"  {name}: {line}" for name, line in about["engines"].items()]
    return Outcome({"file": str(arguments.output), "board": about, **common}, shown)


def _samples(model: "OnnxModel", task: "Task", arguments: argparse.Namespace) -> "Data":
    """The task's own, or random ones of the signature where an ONNX file came without."""
    from hasten.measure.survey import random_samples

    try:
        return task.sample()
    except InputError:
        return random_samples(model.signature, arguments.seed)
