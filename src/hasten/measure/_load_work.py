"""What stays the same from run to run of one measurement under load."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hasten.errors import InputError
from hasten.measure._load_runner import Runner
from hasten.measure._load_samples import Samples
from hasten.measure._load_settings import Preset, Probe, Settings
from hasten.measure._loadgen_log import run_of

Say = Callable[[str], None]


def check_logs(folder: Path | None) -> None:
    """See that there is a place for logs, where they are to be kept.

    Raises:
        InputError: it is a file, or a folder with something in it.
    """
    if folder and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not an empty folder", "choose another folder for --logs")


@dataclass
class Work:
    """The runner, what it is loaded with, and where the logs go."""

    runner: Runner
    samples: Samples
    probe: Probe
    preset: Preset
    seed: int
    scratch: Path
    say: Say
    version: str = ""  # of LoadGen, once a run has said it
    runs: int = 0

    def run(self, settings: Settings, samples: Path | None = None) -> tuple[dict[str, Any], Path]:
        """One test, in a process of its own: what LoadGen says of it, and the folder of its logs."""
        self.runs += 1
        out = self.scratch / f"{self.runs:02d}-{settings.scenario}-{settings.mode}"
        self.version = self.runner.test(samples or self.samples.folder, settings, out)
        return run_of(out, settings), out
