"""The command line. A file of this folder is a verb: its first line is its help, `add` its options, `run` its work.

    def add(parser: argparse.ArgumentParser) -> None
    def run(arguments: argparse.Namespace, progress: Progress) -> Outcome

Here a verb is run, its outcome shown and written, and whatever went wrong becomes one line and an exit code.
"""

import json
import os
import sys
import time
import traceback
from argparse import Namespace
from collections.abc import Sequence

from hasten import files
from hasten.cli._arguments import command_line, parse
from hasten.errors import HastenError

INTERRUPTED, BUG = 130, 70


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after `hasten`; None: those of this process.

    Returns:
        The exit code, as docs/cli.md lists them.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = None
    try:
        arguments = parse(words)
        return _run(arguments)
    except SystemExit as asked:  # --help and --version
        return int(asked.code or 0)
    except KeyboardInterrupt:
        can_go_on = hasattr(arguments, "resume")
        _say(f"stopped; to go on from here: {_resumed(words)}" if can_go_on else "stopped")
        return INTERRUPTED
    except HastenError as fault:
        return _bug(fault, words) if fault.exit_code == BUG else _refuse(fault)
    except Exception as fault:
        return _bug(fault, words)
    finally:
        _flush()


def _run(arguments: Namespace) -> int:
    """Run the verb; write and show what came of it."""
    from hasten.cli._progress import console, heard, watching

    with watching(arguments.quiet) as progress, heard(progress):
        outcome = arguments.run(arguments, progress)
    if arguments.json:
        files.write(arguments.json, json.dumps(outcome.result, indent=1, allow_nan=False) + "\n")
    if not arguments.quiet:
        out = console(sys.stdout)
        for part in outcome.shown:
            out.print(part, soft_wrap=isinstance(part, str))  # a line stays a line, a table fits the screen
    if outcome.refusal:
        _say(outcome.refusal)
    return int(outcome.exit_code)


def _refuse(fault: HastenError) -> int:
    _say(str(fault))
    return fault.exit_code


def _bug(fault: BaseException, words: Sequence[str]) -> int:
    """One line, and the traceback in a file; on the screen where there is no place for a file."""
    trace = "".join(traceback.format_exception(fault))
    path = files.cache_folder() / "faults" / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    what = f"{type(fault).__name__}: {fault}" if str(fault) else type(fault).__name__
    try:
        files.write(path, f"{command_line(words)}\n\n{trace}")
        _say(f"a bug: {what}; please report it with {path}")
    except (HastenError, OSError):
        print(trace, file=sys.stderr)
        _say(f"a bug: {what}; please report it with the lines above")
    return BUG


def _say(sentence: str) -> None:
    """One line on stderr, if anybody still listens."""
    try:
        print(f"hasten: {' '.join(sentence.split())}", file=sys.stderr, flush=True)
    except BrokenPipeError:
        _deaf(sys.stderr.fileno())


def _resumed(words: Sequence[str]) -> str:
    return command_line(words if "--resume" in words else [*words, "--resume"])


def _flush() -> None:
    """A reader that has gone away (`hasten ... | head`) is no fault."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _deaf(sys.stdout.fileno())


def _deaf(descriptor: int) -> None:
    """Let a stream lead nowhere, so that nothing written to it can fail any more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
