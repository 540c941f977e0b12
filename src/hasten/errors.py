"""What can go wrong, and the exit code each kind gives on the command line.

HastenError                  70  (never raised itself)
├── Unmet                     1  the answer is no: budget not met, verification failed
├── UsageError                2  an unknown option, engine, metric, technique or setting
├── InputError                3  a file, array or folder that cannot be used
│   ├── NotApplicable         3  a technique that has nothing to do on this model, and why
│   └── Passing               3  what may go another time: a full disk, a process that the system killed
├── MissingError              5  a package or device that this machine lacks
└── ContractError            70  a technique or an engine that broke its promise: a bug, never the user's
"""

import difflib
from collections.abc import Iterable
from typing import ClassVar


class HastenError(Exception):
    """One sentence: what is wrong, and how to mend it."""

    exit_code: ClassVar[int] = 70

    def __init__(self, what: str, mend: str = "") -> None:
        self.what, self.mend = what, mend
        super().__init__(f"{what}; {mend}" if mend else what)


class Unmet(HastenError):  # noqa: N818 - an answer
    exit_code = 1


class UsageError(HastenError):
    exit_code = 2


class InputError(HastenError):
    exit_code = 3


class NotApplicable(InputError):  # noqa: N818 - an answer
    """Raised by a technique that this model gives nothing to do; the search notes the reason and goes on."""


class Passing(InputError):  # noqa: N818 - it passes
    """The machine's fault and not that of what it was given: a search that is resumed tries again."""


class MissingError(HastenError):
    exit_code = 5


class ContractError(HastenError):
    exit_code = 70


def unknown(kind: str, name: str, choices: Iterable[str]) -> UsageError:
    """The error for a name that is not one of `choices`, with the nearest one offered."""
    known = sorted(choices)
    near = difflib.get_close_matches(name.lower(), known, 1, 0.5)
    mend = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"
    return UsageError(f"no {kind} is called {name!r}", mend)
