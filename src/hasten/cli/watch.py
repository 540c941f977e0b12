"""Watch live video with a bundle: events as they happen."""

import argparse
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from hasten.cli._arguments import new_file, port
from hasten.cli._outcome import Outcome
from hasten.search.progress import Progress

if TYPE_CHECKING:
    from hasten.serve.server import Server
    from hasten.stream.lines import Lines
    from hasten.stream.process import Process
    from hasten.stream.stream import Tell
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
    parser.add_argument(
        "--serve", type=port, metavar="PORT",
        help="a page with picture, scores and events at 127.0.0.1:PORT, for browsers on this machine; 0: any free port",
    )  # fmt: skip
    parser.add_argument("--live", action="store_true", help="play files at their own pace, and drop what is late")


def run(arguments: argparse.Namespace, progress: Progress) -> Outcome:
    from hasten.cli._screen import Screen, ended
    from hasten.errors import InputError
    from hasten.stream.lines import Lines

    ends: list[dict[str, Any]] = []
    takers: list[Tell] = []

    def tell(line: dict[str, Any]) -> None:
        for taker in takers:
            taker(line)
        if line["kind"] == "end":
            ends.append(line)

    with ExitStack() as stack:
        screen = Screen(arguments.quiet)
        server = _served(arguments, stack)
        progress.stage("loading the bundle")
        how = {"windows": arguments.windows or server is not None, "figures_s": _figures_s(screen.drawn, server)}
        watch = _cpp(arguments, tell, how) if arguments.cpp else _python(arguments, tell, how, server, stack)
        if arguments.jsonl:
            takers.append(_written(stack.enter_context(Lines(arguments.jsonl)), arguments.windows))
        if server:
            takers.append(server.tell)
            progress.stage(f"the page is {server.url}")
        takers.append(stack.enter_context(screen).tell)
        with signals(watch) as caught:
            whole = watch.run()
    if signal.SIGINT in caught:
        raise KeyboardInterrupt
    sources = [{k: v for k, v in end.items() if k != "kind"} for end in ends]
    result = {"bundle": arguments.bundle, "sources": sources, "seed": arguments.seed}
    failed = [f"{end['source']}: {end['said']}" for end in ends if end["failed"]]
    return Outcome(result, [ended(ends)], "; ".join(failed), 0 if whole else InputError.exit_code)


def _python(
    arguments: argparse.Namespace, tell: "Tell", how: dict[str, Any], server: "Server | None", stack: ExitStack
) -> "Watch":
    from hasten.bundle import Bundle
    from hasten.cli._door import gate
    from hasten.stream.source import Source
    from hasten.stream.watch import Watch

    sources = [Source.of(place, arguments.live) for place in arguments.sources]
    bundle = stack.enter_context(Bundle.load(arguments.bundle, verify=False))
    gate(bundle)
    bundle.verify()
    return Watch(bundle, sources, tell, seen=server.seen if server else None, **how)


def _cpp(arguments: argparse.Namespace, tell: "Tell", how: dict[str, Any]) -> "Process":
    from hasten.stream.process import Process

    return Process(arguments.bundle, arguments.sources, tell, live=arguments.live, **how)


def _served(arguments: argparse.Namespace, stack: ExitStack) -> "Server | None":
    if arguments.serve is None:
        return None
    from hasten.serve.server import Server

    made = Server(arguments.serve, arguments.bundle, arguments.sources, pictures=not arguments.cpp)
    return stack.enter_context(made)


def _figures_s(drawn: bool, server: "Server | None") -> float:
    """They are told only where somebody shows them."""
    from hasten.cli._screen import EVERY_S

    return EVERY_S if drawn or server else 0.0


def _written(lines: "Lines", windows: bool) -> "Tell":
    """What goes to the file: what was asked for, and not what a page or a table needs besides."""

    def tell(line: dict[str, Any]) -> None:
        if line["kind"] != "figures" and (windows or line["kind"] != "window"):
            lines.tell(line)

    return tell


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
