"""Watch live video with a bundle: events as they happen."""

import argparse
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from hasten.cli._arguments import new_file
from hasten.cli._outcome import Outcome
from hasten.search.progress import Progress

if TYPE_CHECKING:
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
    parser.add_argument("--live", action="store_true", help="play files at their own pace, and drop what is late")


def run(arguments: argparse.Namespace, progress: Progress) -> Outcome:
    from hasten.bundle import Bundle
    from hasten.cli._door import gate
    from hasten.cli._screen import Screen, table
    from hasten.errors import InputError
    from hasten.stream.lines import Lines
    from hasten.stream.source import Source
    from hasten.stream.watch import Watch

    sources = [Source.of(place, arguments.live) for place in arguments.sources]
    progress.stage("loading the bundle")
    with ExitStack() as stack:
        bundle = stack.enter_context(Bundle.load(arguments.bundle, verify=False))
        gate(bundle)
        bundle.verify()
        lines = stack.enter_context(Lines(arguments.jsonl)) if arguments.jsonl else None
        screen = stack.enter_context(Screen(arguments.quiet))

        def tell(line: dict[str, Any]) -> None:
            if lines and (arguments.windows or line["kind"] != "window"):
                lines.tell(line)
            screen.tell(line)

        watch = Watch(bundle, sources, tell, windows=arguments.windows, turned=lambda: screen.draw(watch.streams))
        with signals(watch) as caught:
            whole = watch.run()
    result = {
        "bundle": arguments.bundle,
        "sources": [{"source": s.source.place, "said": s.over and s.over.said, **s.summary()} for s in watch.streams],
        "seed": arguments.seed,
    }
    if signal.SIGINT in caught:
        raise KeyboardInterrupt
    failed = [f"{s.source.place}: {s.over.said}" for s in watch.streams if s.over and s.over.failed]
    return Outcome(result, [table(watch.streams)], "; ".join(failed), 0 if whole else InputError.exit_code)


@contextmanager
def signals(watch: "Watch") -> Iterator[list[int]]:
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
