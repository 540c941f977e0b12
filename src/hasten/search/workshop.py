"""The workshop: the folder `DIR.trials` of one run, with its data, the files it makes, and its store."""

import contextlib
import fcntl
import json
import shutil
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Self, get_args

from hasten import files, find, manifest
from hasten.child import Child
from hasten.data import Data
from hasten.errors import ContractError, HastenError, InputError
from hasten.measure import machine
from hasten.model import OnnxModel
from hasten.neighbours import code
from hasten.recipe import Recipe
from hasten.search.store import STORE, Store
from hasten.search.trial import key_of
from hasten.task import Split, Task

FOLDERS = ("models", "stages", "torch", "data", "answers", "original", "zoo")  # of a run, which the next one makes anew
FILES = ("result.json", "tested.json", "report.html")
_MAKE_S = {"onnx": 1800.0, "torch": 7 * 86400.0}  # no file may take longer to make: graph passes hang, training is long


class Workshop:
    """Locked while a run has it. Everything in it can be made again; what is there is not."""

    def __init__(self, task: Task, folder: Path) -> None:
        """
        Raises:
            InputError: another run is at work here, the folder holds other things, or it cannot be written.
        """
        self.task, self.folder = task, folder
        if folder.is_dir() and not (folder / STORE).exists() and any(p.name != "lock" for p in folder.iterdir()):
            raise InputError(f"{folder} holds files that are not of a run", "choose another folder")
        self._new = not folder.exists()
        with files.writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = (folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as fault:
            self._lock.close()
            raise InputError(
                f"another run is at work in {folder}", "wait for it to end, or choose another folder"
            ) from fault
        self.store = Store(folder)
        self._maker: Child | None = None
        self._failed: dict[str, HastenError] = {}

    def begin(self, options: Mapping[str, Any], resume: bool) -> None:
        """Start a run, without anything of one before it, or go on with the one that is here.

        Raises:
            InputError: as Store.begin.
        """
        if self.store.begin(self.identity(options), resume):
            for made in FOLDERS:
                shutil.rmtree(self.folder / made, ignore_errors=True)
            for name in FILES:
                (self.folder / name).unlink(missing_ok=True)

    @property
    def result(self) -> Path:
        """Where the finished run's result is kept."""
        return self.folder / "result.json"

    def identity(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """What a resumed run must have in common with the one it goes on with."""
        splits: list[Split] = [s for s in get_args(Split) if getattr(self.task, s) is not None]
        return {
            "model": self.task.original.digest(),
            "at_most": dict(self.task.at_most),
            "metric": self.task.measure.name,
            **options,
            "machine": machine.fingerprint(),
            "packages": {n: k.version() for n, k in find.engines().items() if k.missing() is None} | machine.versions(),
            "task's files": code(self.task.source) if self.task.source else {},
            "teachers": {n: manifest.read(t)["seal"] for n, t in self.task.teachers.items() if isinstance(t, Path)},
            "data": {s: self.task.split(s).digest() for s in splits},
        }

    def feed(self, split: Split, recipe: str = str(Recipe())) -> Path:
        """The inputs of one part of the data, as this recipe's model takes them, as .npy for children to map."""
        task, name = self.seen(recipe), str(split)
        if task.origin:
            name += f"-{sha256(json.dumps(task.pipeline.to_json()).encode()).hexdigest()[:16]}"
        data, folder = task.split(split), self.folder / "data" / name
        if not (folder / ".whole").exists():
            Data(data.inputs).save(folder)
            files.write(folder / ".whole", "")
        return folder

    def seen(self, recipe: str) -> Task:
        """The task as the model of this recipe sees it."""
        return self.task.after(Recipe.parse(recipe).steps)

    def file(self, recipe: str) -> Path:
        """The ONNX file that `recipe` gives, made when it is first asked for.

        Raises:
            HastenError: it cannot be made; asked again, the same answer without another try.
        """
        path = self.folder / "models" / f"{key_of(recipe, 'file')}.onnx"
        if recipe in self._failed:
            raise self._failed[recipe]
        if not path.exists():
            base = None if recipe == str(Recipe()) else str(self.base)
            try:
                steps = Recipe.parse(recipe).steps
                self._call(
                    "make",
                    max([_MAKE_S[step.takes] for step in steps], default=_MAKE_S["onnx"]),
                    recipe=recipe,
                    door=self._door(),
                    base=base,
                    out=str(path),
                    torch=str(self.folder / "torch"),
                )
            except HastenError as fault:
                self._failed[recipe] = fault
                raise
        return path

    def note(self, recipe: str) -> dict[str, Any]:
        """What was told when the file was made: `seconds`; `untouched`, {step: {layer: why}}; `said`."""
        return dict(json.loads(self.file(recipe).with_suffix(".json").read_text()))

    @property
    def base(self) -> Path:
        """The model as it was exported, or as it came."""
        return self.file(str(Recipe()))

    def variants(self) -> list[str]:
        """The recipes that the graph passes propose for this model."""
        return list(self._call("variants", _MAKE_S["onnx"], base=str(self.base)))

    def load(self, recipe: str) -> OnnxModel:
        return OnnxModel.load(self.file(recipe))

    def answers(self, name: str) -> Path:
        """A folder for the answers of one session."""
        return self.folder / "answers" / name

    def _door(self) -> dict[str, Any]:
        if self.task.source is not None:
            return {"task": str(self.task.source), "at_most": dict(self.task.at_most)}
        if not isinstance(self.task.model, Path):
            raise InputError(
                f"the task {self.task.name!r} was not loaded from a file, so child processes cannot build its model",
                "write it into a task.py and use Task.load",
            )
        door = {"model": str(self.task.model), "metric": self.task.measure.name}
        return door | ({"calibrate": str(self.feed("calibrate"))} if self.task.calibrate is not None else {})

    def _call(self, method: str, limit_s: float, **arguments: Any) -> Any:
        """Ask the maker; after a death a fresh one is started for the next call."""
        maker = self._maker = self._maker or Child("hasten.search.maker:Maker")
        try:
            return maker.call(method, limit_s, **arguments)
        except ContractError:
            raise
        except HastenError:
            self._dismiss()
            raise

    def _dismiss(self) -> None:
        if self._maker is not None:
            self._maker.close()
            self._maker = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._dismiss()
        empty = not any(t.status != "pending" for t in self.store.trials())
        self.store.__exit__(kind, fault, trace)
        if self._new and empty and kind is not None and issubclass(kind, HastenError):
            shutil.rmtree(self.folder, ignore_errors=True)  # nothing was measured: the mended call begins anew
        with contextlib.suppress(OSError):
            self._lock.close()
