"""From words to arguments: finds the verb, and answers a wrong word with the nearest right one."""

import argparse
import math
import os
import re
import shlex
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import NoReturn

from hasten import __version__
from hasten.errors import UsageError, unknown

EXIT_CODES = "exit codes: 0 done, 1 the answer is no, 2 usage, 3 bad input, 5 missing piece, 70 bug, 130 stopped"
MOST_PORT = 65535
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


class Parser(argparse.ArgumentParser):
    """Raises instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, f"see {self.prog} --help")


def verbs() -> list[str]:
    """The files of this folder."""
    return sorted(m.name for m in iter_modules([str(Path(__file__).parent)]) if not m.name.startswith("_"))


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The arguments of one command; `run` among them does it, and `command` is the command itself.

    Raises:
        UsageError: no verb, or an unknown verb or option, or a value that does not fit.
        SystemExit: help or the version was asked for and printed.
    """
    if not words or words[0].startswith("-"):
        front = Parser(
            "hasten",
            usage="hasten VERB ...",
            description="Makes a trained network run fast, and proves it.",
            epilog=_overview(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        front.add_argument("--version", action="version", version=f"hasten {__version__}")
        _known(front, words)
        front.parse_args(words)
        raise UsageError("no verb was given", f"there are: {', '.join(verbs())}")
    if words[0] not in verbs():
        raise unknown("verb", words[0], verbs())
    verb = _module(words[0])
    parser = parser_of(verb)
    _known(parser, words[1:])
    arguments = parser.parse_args(words[1:])
    arguments.run, arguments.command = verb.run, command_line(words)
    return arguments


def parser_of(verb: ModuleType) -> Parser:
    """The options of one verb, those that all verbs have included."""
    name = verb.__name__.rpartition(".")[2]
    parser = Parser(
        f"hasten {name}",
        description=verb.__doc__,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.add(parser)
    parser.add_argument("--json", type=new_file, metavar="FILE", help="write the result there as JSON")
    parser.add_argument("-q", "--quiet", action="store_true", help="show nothing but what went wrong")
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help="start of every random choice (default 0)")
    return parser


def command_line(words: Sequence[str]) -> str:
    """The command as a shell takes it."""
    return shlex.join(["hasten", *words])


def _module(verb: str) -> ModuleType:
    return import_module(f"hasten.cli.{verb}")


def _overview() -> str:
    """Every verb with the first line of its file."""
    lines = [f"  {name:<8} {(_module(name).__doc__ or '').splitlines()[0]}" for name in verbs()]
    return "\n".join(["verbs:", *lines, "", "hasten VERB --help says more", EXIT_CODES])


def _known(parser: Parser, words: Sequence[str]) -> None:
    """Refuse an unknown option before anything else is said, with the nearest one that there is."""
    options = [o for action in parser._actions for o in action.option_strings]
    for word in words:
        name = word.partition("=")[0]
        if name.startswith("--") and name != "--" and name not in options:
            raise unknown(f"option of {parser.prog}", name, [o for o in options if o.startswith("--")])


def duration(text: str) -> float:
    """90s, 20m, 1h or 1h30m, in seconds."""
    match = _DURATION.fullmatch(text)
    hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    return _above(3600 * hours + 60 * minutes + seconds, 0, f"{text!r} is not a time: write 90s, 20m or 1h30m")


def share(text: str) -> float:
    """A drop: finite, not negative."""
    return _above(
        _number(text), -math.ulp(0.0), f"{text!r} is not a drop: write a number from 0 up, in the metric's unit"
    )


def positive(text: str) -> float:
    return _above(_number(text), 0, f"{text!r} is not a number above 0")


def recipe(text: str) -> str:
    """A recipe as it is printed, of a recipe or of @FILE.

    Raises:
        UsageError: no recipe, or a file that cannot be read.
    """
    from hasten.recipe import Recipe

    return str(Recipe.read(text[1:]) if text.startswith("@") else Recipe.parse(text))


def seed(text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 999999999")
    return int(text)


def count(text: str) -> int:
    """How many: 0 and up."""
    if not re.fullmatch(r"\d{1,12}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 up")
    return int(text)


def port(text: str) -> int:
    """0: any that is free."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > MOST_PORT:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no port: write a number from 1 to {MOST_PORT}, or 0 for a free one"
        )
    return int(text)


def new_file(text: str) -> Path:
    """A file that can be written when the work is done: seen to before it begins."""
    path = Path(text)
    folder = next(p for p in path.absolute().parents if p.exists())
    if path.exists() and not path.is_file():
        raise argparse.ArgumentTypeError(f"{text!r} is no regular file")
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise argparse.ArgumentTypeError(f"{folder} is no folder that can be written to")
    return path


def new(text: str) -> Path:
    """A file or a folder that can be written when the work is done."""
    return Path(text) if Path(text).is_dir() and os.access(text, os.W_OK) else new_file(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _above(value: float, bound: float, otherwise: str) -> float:
    if not (math.isfinite(value) and value > bound):
        raise argparse.ArgumentTypeError(otherwise)
    return value
