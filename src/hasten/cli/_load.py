"""`hasten measure BUNDLE --scenario S`: its options, and its work."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hasten.cli._arguments import positive
from hasten.cli._outcome import Outcome
from hasten.search.progress import Progress

if TYPE_CHECKING:
    from hasten.task import Task

LIVE = "LiveStream"
_OF_LOAD = ("strict", "cpp", "latency", "deadline", "fps", "streams", "task", "logs")
_OF_LIVE = ("deadline", "fps", "streams")
_ALONE = ("engine", "data", "roofline", "report", "price")  # of measure, without a scenario


def add(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "a bundle under load", "by MLPerf's LoadGen, but for LiveStream; what it gives is not an MLPerf result"
    )
    group.add_argument(
        "--scenario",
        type=_scenario,
        metavar="S",
        help="SingleStream, MultiStream (8 samples a query), Server (the most queries a second whose p99 holds a "
        "bound), Offline, or LiveStream (the most streams whose frames are answered in time)",
    )
    group.add_argument(
        "--strict", action="store_true", help="as long and as many as MLPerf's rules say: ten minutes, not ten seconds"
    )
    group.add_argument("--cpp", action="store_true", help="run the bundle in C++: for networks of less than 1 ms")
    group.add_argument("--task", metavar="TASK", help="a task file: load the bundle with its labelled data")
    group.add_argument(
        "--latency",
        type=positive,
        metavar="MS",
        help="Server: the bound (default: 10, or ten times the time of a call where that is more)",
    )
    group.add_argument("--fps", type=positive, metavar="F", help="LiveStream: frames a second of a stream (default 60)")
    group.add_argument(
        "--deadline", type=positive, metavar="MS", help="LiveStream: from when a frame is due (default: 1000 / fps)"
    )
    group.add_argument(
        "--streams", type=_streams, metavar="N", help="LiveStream: so many, instead of the most that are held"
    )
    group.add_argument("--logs", type=Path, metavar="DIR", help="keep LoadGen's own logs and the settings of each run")


def stray(arguments: argparse.Namespace) -> None:
    """
    Raises:
        UsageError: options that do not go with each other.
    """
    from hasten.errors import UsageError

    def given(names: tuple[str, ...]) -> list[str]:
        return [name for name in names if getattr(arguments, name, None)]

    if not arguments.scenario:
        if names := given(_OF_LOAD):
            raise UsageError(f"--{names[0]} is for a bundle under load", "add --scenario")
        return
    if names := given(_ALONE):
        raise UsageError(f"--{names[0]} does not go with --scenario", "leave one of them out")
    if arguments.scenario == LIVE:
        if names := given(("cpp", "latency")):
            raise UsageError(f"--{names[0]} is for LoadGen's scenarios", "leave it out, or name another scenario")
    elif names := given(_OF_LIVE):
        raise UsageError(f"--{names[0]} is for LiveStream", "leave it out, or add --scenario LiveStream")
    if arguments.latency and arguments.scenario != "Server":
        raise UsageError("--latency is for Server", "leave it out, or add --scenario Server")


def run(arguments: argparse.Namespace, progress: Progress) -> Outcome:
    """The outcome of one scenario; `stray` has been asked before.

    Raises:
        InputError: no bundle; or as hasten.measure.loadgen.load and hasten.measure.livestream.live.
    """
    from hasten.measure.machine import conditions
    from hasten.report.load import load_tables

    folder = Path(arguments.what)
    _require(folder)
    task = _task(arguments.task)
    load = _measured(arguments, folder, task, progress)
    result = {
        "task": folder.name,
        "command": arguments.command,
        "conditions": conditions(arguments.seed),
        "rows": [],
        "folded": [],
        "end_to_end": [],
        "load": load,
    }
    refusal = "; ".join(_faults(load))
    return Outcome(result, load_tables(load), refusal, 1 if refusal else 0)


def _measured(arguments: argparse.Namespace, folder: Path, task: "Task | None", progress: Progress) -> dict[str, Any]:
    common: dict[str, Any] = {
        "strict": arguments.strict,
        "task": task,
        "logs": arguments.logs,
        "seed": arguments.seed,
        "say": progress.stage,
    }
    if arguments.scenario == LIVE:
        from hasten.measure.livestream import live

        return live(
            folder,
            fps=arguments.fps or 60.0,
            deadline_ms=arguments.deadline,
            streams=arguments.streams,
            **common,
        )
    from hasten.measure.loadgen import load

    return load(folder, arguments.scenario, in_cpp=arguments.cpp, bound_ms=arguments.latency, **common)


def _require(folder: Path) -> None:
    """See that it is a bundle, whole, whose networks the gate lets through."""
    from hasten.bundle import Bundle, is_bundle
    from hasten.cli._door import gate
    from hasten.errors import InputError

    if folder.is_file() or (folder.is_dir() and not is_bundle(folder)):
        raise InputError(f"{folder} is not a bundle", "--scenario loads one that hasten boost has made")
    with Bundle.load(folder, verify=False) as bundle:
        gate(bundle)
        bundle.verify()


def _task(path: str | None) -> "Task | None":
    from hasten.task import Task

    return Task.load(path) if path else None


def _faults(load: dict[str, Any]) -> list[str]:
    """Why the answer is no: runs that are not valid, and checks that fail."""
    faults = []
    for made in load["runs"]:
        what = f"{made['scenario']}, {made['mode']}"
        if not made["valid"]:
            faults.append(f"{what}: not valid: {', '.join(made['reasons'])}")
        faults += [f"{what}: {check['said']}" for check in made["checks"] if check["passed"] is False]
    return faults


def _scenario(text: str) -> str:
    from hasten.errors import unknown
    from hasten.measure._load_settings import SCENARIOS

    if text not in (known := (*SCENARIOS, LIVE)):
        raise unknown("scenario", text, known)
    return text


def _streams(text: str) -> int:
    from hasten.measure.livestream import MOST_STREAMS

    if not text.isdecimal() or not 1 <= int(text) <= MOST_STREAMS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {MOST_STREAMS}")
    return int(text)
