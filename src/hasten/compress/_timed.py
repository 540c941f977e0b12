"""How fast a network will be, raced against the original before anybody trains it."""

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hasten import find
from hasten.data import Data
from hasten.errors import MissingError, UsageError
from hasten.export import export
from hasten.measure.latency import Speedup, race
from hasten.measure.stand import Entrant, Stand
from hasten.measure.threads import best_threads
from hasten.model import TorchModel

LOOKS, AGREED = 3, 1.15  # at most; ends of an interval so near to each other need no further one


class Yardstick:
    """The original on an engine, kept ready; shapes decide about time, so that others may have any weights."""

    def __init__(self, original: TorchModel, data: Data, engine: str, threads: int) -> None:
        """
        Args:
            data: real samples.
            engine: its name; empty: the first here that runs ONNX.
            threads: of all that are timed; 0: as many as are fastest for the original.

        Raises:
            UsageError: there is no such engine, or it runs no ONNX.
            MissingError: it is not here.
        """
        self.engine = _chosen(engine)
        self._data, self._made = data, 0
        with ExitStack() as stack:
            self._folder = Path(stack.enter_context(TemporaryDirectory(prefix="hasten-")))
            self._feed = self._folder / "feed"
            Data(data.inputs).save(self._feed)
            path = self._exported(original)
            self._settings: dict[str, Any] = {
                "threads": threads or best_threads(path, self.engine, {"threads": 0}, self._feed)
            }
            self._original = stack.enter_context(Stand(Entrant(path, self.engine, self._settings), self._feed))
            self._stack = stack.pop_all()

    def speedup(self, model: TorchModel) -> Speedup:
        """How many times as fast as the original it is, by interleaved rounds of one launch.

        A neighbour on the machine makes rounds differ; then another look is taken, and the one whose rounds agree best
        counts.

        Raises:
            InputError: it cannot be exported, or the engine refuses it.
        """
        path = self._exported(model)
        with Stand(Entrant(path, self.engine, self._settings), self._feed) as stand:
            looks: list[Speedup] = []
            while len(looks) < LOOKS and not (looks and _spread(looks[-1]) <= AGREED):
                looks.append(race([self._original, stand], launches=1).speedup(1, over=0))
        return min(looks, key=_spread)

    def _exported(self, model: TorchModel) -> Path:
        path = self._folder / f"{self._made}.onnx"
        self._made += 1
        export(model, self._data).model.save(path)
        return path

    def close(self) -> None:
        """End the original's process, and remove what was exported."""
        self._stack.close()


def _spread(speedup: Speedup) -> float:
    return speedup.high / speedup.low


def _chosen(name: str) -> str:
    kinds = {n: k for n, k in find.engines().items() if k.takes == "onnx"}
    if name:
        if find.engine(name).takes != "onnx":
            raise UsageError(f"the engine {name} runs no ONNX file", f"there are: {', '.join(sorted(kinds))}")
        if reason := kinds[name].missing():
            raise MissingError(f"the engine {name} cannot run here", reason)
        return name
    here = [n for n, k in kinds.items() if k.missing() is None]
    if not here:
        raise MissingError("networks are timed on an engine, and none is here", "pip install 'hasten[onnxruntime]'")
    return here[0]
