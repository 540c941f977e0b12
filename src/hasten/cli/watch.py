"""Watch live video with a bundle: events as they happen."""

import argparse
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from hasten.cli._arguments import new_file
from hasten.cli._outcome import Outcome
from hasten.search.progress import Progress

if TYPE_CHECKING:
    from hasten.cli._screen import Screen
    from hasten.stream.process import Process
    from hasten.stream.watch import Watch


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", help="a folder that hasten has made, with a window, for events")
    parser.add_argument(
        "sources", metavar="SOURCE", nargs="+", help="a file, a camera (/dev/video0), a URL, or - for y4m on stdin"
    )
    parser.add_argument(
        "--jsonl", type=new_file, metavar="FILE", help="write every event there at once, a JSON line each"
    )
    parser.add_argument("--windows", action="store_true", help="write the scores of every window too")
    parser.add_argument("--cpp", action="store_true", help="by the C++ process hasten-watch: the same events")
    parser.add_argument("--live", action="store_true", help="play files at their own pace, and drop what is late")


def run(arguments: argparse.Namespace, progress: Progress) -> Outcome:
    from hasten.cli._screen import Screen, ended
    from hasten.errors import InputError
    from hasten.stream.lines import Lines

    ends: list[dict[str, Any]] = []
    with ExitStack() as stack:
        lines: Lines | None = None
        screen = Screen(arguments.quiet)

        def tell(line: dict[str, Any]) -> None:
            if lines:
                lines.tell(line)
            screen.tell(line)
            if line["kind"] == "end":
                ends.append(line)

        progress.stage("loading the bundle")
        watch = _cpp(arguments, tell) if arguments.cpp else _python(arguments, tell, screen, stack)
        lines = stack.enter_context(Lines(arguments.jsonl)) if arguments.jsonl else None
        stack.enter_context(screen)
        with signals(watch) as caught:
            whole = watch.run()
    if signal.SIGINT in caught:
        raise KeyboardInterrupt
    sources = [{k: v for k, v in end.items() if k != "kind"} for end in ends]
    result = {"bundle": arguments.bundle, "sources": sources, "seed": arguments.seed}
    failed = [f"{end['source']}: {end['said']}" for end in ends if end["failed"]]
    return Outcome(result, [ended(ends)], "; ".join(failed), 0 if whole else InputError.exit_code)


def _python(
    arguments: argparse.Namespace, tell: Callable[[dict[str, Any]], None], screen: "Screen", stack: ExitStack
) -> "Watch":
    from hasten.bundle import Bundle
    from hasten.cli._door import gate
    from hasten.stream.source import Source
    from hasten.stream.watch import Watch

    sources = [Source.of(place, arguments.live) for place in arguments.sources]
    bundle = stack.enter_context(Bundle.load(arguments.bundle, verify=False))
    gate(bundle)
    bundle.verify()
    watch = Watch(bundle, sources, tell, windows=arguments.windows, turned=lambda: screen.draw(watch.streams))
    return watch


def _cpp(arguments: argparse.Namespace, tell: Callable[[dict[str, Any]], None]) -> "Process":
    from hasten.stream.process import Process

    return Process(arguments.bundle, arguments.sources, tell, windows=arguments.windows, live=arguments.live)


@contextmanager
def signals(watch: "Watch | Process") -> Iterator[list[int]]:
    """SIGTERM and Ctrl-C end the watch, and what has been read is worked on; the signals that came."""
    caught: list[int] = []

    def end(number: int, frame: object) -> None:
        if number in caught:
            raise KeyboardInterrupt
        caught.append(number)
        watch.stop()

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
