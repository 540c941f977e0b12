"""A file on a library in a process of its own, called through the library's own Python interface; nothing of hasten.

The parent side is `Contender`. The child compiles, warms up, and then answers one line of JSON with another:
{"burst": n} with the times of n calls, {"answer": npz, "out": npy} with the first output for every sample.
"""

import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

DROP, SETTLE_S = 5, 0.04  # at the start of a burst, not timed: another's threads spin on, and it had the caches
WARM_S = 1.0
INPUTS = 16  # real samples that calls rotate through
BATCH = 32  # where only the answers count and axis 0 is free


class Contender:
    """A running session; `settings`: threads, and for OpenVINO the precision hint and any further property."""

    def __init__(self, name: str, model: Path, library: str, settings: dict[str, Any], feed: Path) -> None:
        self.name, self.settings, self.library = name, settings, library
        self._job = {"model": str(model), "library": library, "settings": settings, "feed": str(feed)}
        self._process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        """A fresh process, compiled and warm."""
        self.close()
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - as long as the process
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True
        )
        self._ask(self._job)

    def burst(self, calls: int) -> list[float]:
        """Times of `calls` calls with one sample, in ms."""
        return self._ask({"burst": calls})["ms"]

    def answers(self, archive: Path, out: Path) -> np.ndarray:
        """The first output for every sample of an archive."""
        self._ask({"answer": str(archive), "out": str(out)})
        return np.load(out)

    def close(self) -> None:
        if self._process:
            self._process.kill()
            with self._log, contextlib.suppress(BrokenPipeError):
                self._process.communicate()
            self._process = None

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        process: Any = self._process
        try:
            process.stdin.write(json.dumps(message) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            process.wait()
            self._log.seek(0)
            said = self._log.read().strip().splitlines()
            self.close()
            raise RuntimeError(f"{self.name}: {said[-1][:200] if said else 'the process ended'}")
        return json.loads(line)


def open_session(model: str, library: str, settings: dict[str, Any]) -> Any:
    """feed -> the first output, by the library's fastest plain call."""
    if library == "onnxruntime":
        import onnxruntime

        onnxruntime.set_default_logger_severity(3)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = settings["threads"], 1
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        names = [o.name for o in session.get_outputs()]
        return lambda feed: session.run(names, feed)[0]
    properties = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": settings["threads"]}
    properties |= {k: v for k, v in settings.items() if k != "threads"}
    request = openvino().Core().compile_model(model, "CPU", properties).create_infer_request()
    return lambda feed: request.infer(feed, share_inputs=True, share_outputs=False)[0]


def openvino() -> Any:
    """The package, without the telemetry that importing it sends."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


def fixed_batch(model: str) -> bool:
    """Whether the file takes one number of samples only."""
    import onnx

    graph = onnx.load(model, load_external_data=False).graph
    return graph.input[0].type.tensor_type.shape.dim[0].HasField("dim_value")


def load(archive: str) -> dict[str, np.ndarray]:
    """The inputs of an archive."""
    with np.load(archive, allow_pickle=False) as data:
        return {k: data[k] for k in data.files if k not in ("target", "groups")}


def serve() -> None:
    """The child's side."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is not an answer
    job = json.loads(sys.stdin.readline())
    run = open_session(job["model"], job["library"], job["settings"])
    arrays, batch = load(job["feed"]), 1 if fixed_batch(job["model"]) else BATCH
    rows = [
        {k: np.ascontiguousarray(v[i : i + 1]) for k, v in arrays.items()}
        for i in range(min(INPUTS, len(next(iter(arrays.values())))))
    ]
    del arrays
    feeds = itertools.cycle(rows)
    warm = time.perf_counter() + WARM_S
    while time.perf_counter() < warm:
        run(next(feeds))
    print("{}", file=answers, flush=True)
    for line in sys.stdin:
        ask = json.loads(line)
        if "burst" in ask:
            reply: dict[str, Any] = {"ms": timed(run, feeds, ask["burst"])}
        else:
            data = load(ask["answer"])
            count = len(next(iter(data.values())))
            parts = [
                np.array(run({k: np.ascontiguousarray(v[i : i + batch]) for k, v in data.items()}))
                for i in range(0, count, batch)
            ]
            np.save(ask["out"], np.concatenate(parts))
            reply = {}
        print(json.dumps(reply), file=answers, flush=True)


def timed(run: Any, feeds: Any, calls: int) -> list[float]:
    began, dropped = time.perf_counter(), 0
    while dropped < DROP or time.perf_counter() - began < SETTLE_S:
        run(next(feeds))
        dropped += 1
    times = []
    for _ in range(calls):
        feed = next(feeds)
        begin = time.perf_counter()
        run(feed)
        times.append((time.perf_counter() - begin) * 1e3)
    return times


if __name__ == "__main__":
    serve()
