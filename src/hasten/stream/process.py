"""The same watch in C++: the process hasten-watch, and the lines that it tells."""

import json
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hasten import cpp
from hasten.errors import HastenError, InputError, MissingError, Unmet, UsageError
from hasten.stream.source import Patience

_KINDS: dict[int, type[HastenError]] = {1: Unmet, 2: UsageError, 5: MissingError}


class Process:
    """Built when it has not been built. `run` once."""

    def __init__(
        self,
        bundle: str | Path,
        sources: Sequence[str],
        tell: Callable[[dict[str, Any]], None],
        *,
        windows: bool = False,
        figures_s: float = 0.0,
        live: bool = False,
        patience: Patience | None = None,
    ) -> None:
        """
        Args:
            bundle, sources, windows, figures_s, patience: as in hasten.stream.watch.Watch; it verifies the bundle.
            live: files and pipes are treated as cameras.
            tell: takes each line; `-` among the sources is this process's standard input.

        Raises:
            MissingError: as hasten.cpp.watch_program.
        """
        p = patience or Patience()
        words: list[str | Path] = [cpp.watch_program(), bundle, *sources]
        words += ["--windows"] * windows + ["--live"] * live
        words += ["--figures", f"{figures_s:g}"] * (figures_s > 0)
        words += ["--patience", f"{p.stall_s:g},{p.backoff_s:g},{p.most_backoff_s:g},{p.give_up_s:g}"]
        self._words, self._told = words, tell
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def stop(self) -> None:
        """As Watch.stop."""
        self._stopped = True
        if self._process:
            self._process.terminate()

    def run(self) -> bool:
        """Whether every source came to its end, or to `stop`, without a fault.

        Raises:
            HastenError: what it says before it begins, by its exit code; InputError where it died; what `tell` raises.
        """
        said: deque[bytes] = deque(maxlen=1)  # the last line
        told = False
        with subprocess.Popen(self._words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            self._process = process
            if self._stopped:
                process.terminate()
            faults = process.stderr or ()
            aside = threading.Thread(target=lambda: said.extend(line for line in faults if line.strip()), daemon=True)
            aside.start()  # a pipe that nobody reads is full one day, and who writes to it waits for ever
            try:
                for line in process.stdout or ():
                    told = True
                    self._told(json.loads(line))
            except BaseException:
                process.kill()  # a camera may give it nothing to tell, and then it would not notice
                raise
            finally:
                aside.join()
        code = process.returncode
        if code == 0 or (code == 3 and told):
            return code == 0
        if code < 0:
            raise InputError(f"hasten-watch was killed by {signal.Signals(-code).name}", "see what its sources gave it")
        last = said[-1].decode(errors="replace").strip() if said else f"it ended with {code}"
        fault, _, mend = last.removeprefix("hasten-watch: ").partition("; ")
        raise _KINDS.get(code, InputError)(f"hasten-watch: {fault}", mend or "run hasten verify --cpp on the bundle")
