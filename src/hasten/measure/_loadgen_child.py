"""One LoadGen test of a bundle in Python. LoadGen's state is global: a process runs one test, and ends.

LoadGen runs on a thread of its own, so that a fault in one of its callbacks can be told to whoever waits for the test.
"""

import queue
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hasten.measure._load_settings import parts
from hasten.measure._load_subject import Loaded

SWITCH_S = 5e-4  # after which a thread in Python lets another one go on: LoadGen's must not wait long


class Run:
    """Made in the child."""

    def run(self, bundle: str, samples: str, settings: Mapping[str, Any], out: str) -> str:
        """Load the bundle, warm it up, and run one test; LoadGen's logs go to `out`. Returns LoadGen's version."""
        import mlperf_loadgen as loadgen

        sys.setswitchinterval(SWITCH_S)
        self._lg, self._settings = loadgen, settings
        self._loaded = Loaded()
        self._loaded.open(bundle, samples)
        self._loaded.warm(settings["sizes"], settings["warm_s"])
        self._waiting: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()
        self._over = threading.Event()
        self._fault: BaseException | None = None
        if settings["scenario"] == "Server":
            threading.Thread(target=self._guarded, args=(self._serve,), daemon=True).start()
        threading.Thread(target=self._guarded, args=(self._test, out), daemon=True).start()
        self._over.wait()
        if self._fault:
            raise self._fault
        from importlib.metadata import version

        return version("mlcommons-loadgen")

    def _test(self, out: str) -> None:
        lg, settings = self._lg, self._settings
        under_test = lg.ConstructFastSUT(self._issue, lambda: None)
        library = lg.ConstructQSL(settings["samples"], settings["loaded_samples"], _nothing, _nothing)
        logs = lg.LogSettings()
        logs.log_output.outdir = out
        logs.enable_trace = False
        # no audit file: one that lies in the working folder would change the test
        absent = str(Path(out) / "no.audit")
        lg.StartTestWithLogSettings(under_test, library, loadgen_settings(lg, settings), logs, absent)
        lg.DestroyQSL(library)
        lg.DestroyFastSUT(under_test)
        self._over.set()

    def _issue(self, ids: Sequence[int], indices: Sequence[int]) -> None:
        """LoadGen's callback, on its thread."""
        if self._settings["scenario"] == "Server":
            for pair in zip(ids, indices, strict=True):
                self._waiting.put(pair)
            return
        self._guarded(self._answer, ids, indices)

    def _serve(self) -> None:
        """Answer whatever waits, as many samples together as a call may take."""
        most = self._settings["sizes"][0]
        while True:
            pairs = [self._waiting.get()]
            while len(pairs) < most and not self._waiting.empty():
                pairs.append(self._waiting.get())
            self._answer([i for i, _ in pairs], [index for _, index in pairs])

    def _answer(self, ids: Sequence[int], indices: Sequence[int]) -> None:
        start = 0
        for size in parts(len(ids), self._settings["sizes"]):
            made = self._loaded.answer(indices[start : start + size])
            at, row = made.__array_interface__["data"][0], made.shape[1]
            responses = [
                self._lg.QuerySampleResponse(name, at + i * row, row)
                for i, name in enumerate(ids[start : start + size])
            ]
            self._lg.QuerySamplesComplete(responses)
            start += size

    def _guarded(self, work: Any, *arguments: Any) -> None:
        """Hand a fault to the thread that waits, and never return to LoadGen from it: it has no way to stop a test."""
        try:
            work(*arguments)
        except BaseException as fault:
            self._fault = fault
            self._over.set()
            threading.Event().wait()


def loadgen_settings(lg: Any, settings: Mapping[str, Any]) -> Any:
    """LoadGen's own settings, of the file's."""
    made = lg.TestSettings()
    made.scenario = getattr(lg.TestScenario, settings["scenario"])
    accurate = settings["mode"] == "accuracy"
    made.mode = lg.TestMode.AccuracyOnly if accurate else lg.TestMode.PerformanceOnly
    made.min_duration_ms = round(1e3 * settings["min_duration_s"])
    made.min_query_count = settings["min_query_count"]
    made.performance_issue_same = settings["same_sample"]
    made.accuracy_log_sampling_target = settings["logged_answers"]
    for name, seed in settings["seeds"].items():
        setattr(made, f"{name}_rng_seed", int(seed))
    if settings["scenario"] == "SingleStream":
        made.single_stream_expected_latency_ns = 1e6 * settings["expected_latency_ms"]
        made.single_stream_target_latency_percentile = settings["percentile"]
    elif settings["scenario"] == "MultiStream":
        made.multi_stream_expected_latency_ns = 1e6 * settings["expected_latency_ms"]
        made.multi_stream_target_latency_percentile = settings["percentile"]
        made.multi_stream_samples_per_query = settings["samples_per_query"]
    elif settings["scenario"] == "Server":
        made.server_target_qps = settings["expected_qps"]
        made.server_target_latency_ns = round(1e6 * settings["latency_bound_ms"])
        made.server_target_latency_percentile = settings["percentile"]
    else:
        made.offline_expected_qps = settings["expected_qps"]
    return made


def _nothing(which: Sequence[int]) -> None:
    """Samples are in memory from the beginning."""
