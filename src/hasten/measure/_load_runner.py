"""The two runners of a bundle under load, in Python and in C++, behind one interface: a process for each test."""

import json
import subprocess
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from hasten import cpp, files
from hasten.child import Child
from hasten.errors import HastenError, InputError, MissingError, UsageError
from hasten.measure._load_settings import Probe, Settings

SETTINGS = "settings.json"
_START_S = 300.0  # to load a bundle and to warm it up; more is a hang
_KINDS: dict[int, type[HastenError]] = {2: UsageError, 3: InputError, 5: MissingError}


@dataclass(frozen=True)
class Runner(ABC):
    """Runs tests of one bundle."""

    bundle: Path
    name: ClassVar[str]

    @abstractmethod
    def probe(self, samples: Path, seconds: float) -> Probe:
        """What it does when nobody else asks."""

    @abstractmethod
    def _test(self, samples: Path, settings: Path, out: Path, limit_s: float) -> str: ...

    def test(self, samples: Path, settings: Settings, out: Path) -> str:
        """Run one LoadGen test; its logs and the settings go to the folder `out`. Returns LoadGen's version.

        Raises:
            InputError: the bundle fails under load, or its process dies or hangs.
        """
        out.mkdir(parents=True)
        files.write(out / SETTINGS, json.dumps(settings.for_runner(), indent=1) + "\n")
        return self._test(samples, out / SETTINGS, out, _START_S + settings.longest_s)


@dataclass(frozen=True)
class Python(Runner):
    name: ClassVar[str] = "python"

    def probe(self, samples: Path, seconds: float) -> Probe:
        with Child("hasten.measure._load_subject:Loaded") as child:
            child.call("open", _START_S, bundle=str(self.bundle), samples=str(samples))
            return Probe.from_json(child.call("probe", _START_S, seconds=seconds))

    def rest(self, samples: Path, count: int, out: Path, limit_s: float) -> int:
        """The outputs for the first `count` samples, each alone and at rest; see Loaded.rest."""
        with Child("hasten.measure._load_subject:Loaded") as child:
            child.call("open", _START_S, bundle=str(self.bundle), samples=str(samples))
            return int(child.call("rest", limit_s, out=str(out), count=count))

    def _test(self, samples: Path, settings: Path, out: Path, limit_s: float) -> str:
        given: dict[str, Any] = json.loads(settings.read_text())
        with Child("hasten.measure._loadgen_child:Run") as child:
            where = {"bundle": str(self.bundle), "samples": str(samples), "out": str(out)}
            return str(child.call("run", limit_s, settings=given, **where))


@dataclass(frozen=True)
class Cpp(Runner):
    name: ClassVar[str] = "cpp"

    def probe(self, samples: Path, seconds: float) -> Probe:
        return Probe.from_json(json.loads(self._call(samples, _START_S, "--probe", str(seconds))))

    def _test(self, samples: Path, settings: Path, out: Path, limit_s: float) -> str:
        return str(json.loads(self._call(samples, limit_s, "--settings", settings, "--out", out))["loadgen"])

    def _call(self, samples: Path, limit_s: float, *words: str | Path) -> str:
        command = [cpp.load_program(), self.bundle, "--samples", samples, *words]
        try:
            ended = subprocess.run(command, capture_output=True, text=True, timeout=limit_s)
        except subprocess.TimeoutExpired as fault:
            raise InputError(f"hasten-load took longer than {limit_s:.0f} s", "try a smaller network") from fault
        if ended.returncode == 0:
            return ended.stdout
        said = (ended.stderr.strip().splitlines() or [f"it ended with exit code {ended.returncode}"])[-1]
        what, _, mend = said.removeprefix("hasten-load: ").partition("; ")
        kind = _KINDS.get(ended.returncode, InputError)
        raise kind(f"hasten-load: {what}", mend or "run hasten verify on the bundle")
