"""The pipeline's machine code. spec/pixels.md, spec/time.md and spec/answers.md define what it does."""

import numpy as np

class Preparer:
    """Prepares images of one size; threads that share one wait for each other."""

    def __init__(self, width: int, height: int, **how: object) -> None: ...
    @property
    def shape(self) -> tuple[int, int, int]: ...
    def run(self, *planes: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...

def vectorised(wanted: bool) -> bool: ...

NO_TIMESTAMP: int

class Sampler:
    """Frames of any rate -> samples on an even grid; all times in nanoseconds."""

    def __init__(self, fps: float, *, phase: int = 0, max_gap: int = 500_000_000, wrap: int | None = None) -> None: ...
    @property
    def dropped(self) -> int: ...
    def push(self, timestamps: int | np.ndarray | None) -> np.ndarray:
        """i64 [N] -> i64 [K, 4]: time, frame, index, segment."""

class Window:
    """When a window of samples is full, and which slots of a ring hold it."""

    def __init__(self, seconds: float, fps: float, stride_s: float, padding: str = "wait") -> None: ...
    @property
    def length(self) -> int: ...
    @property
    def stride(self) -> int: ...
    def push(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """i64 [N, 4] -> slot of each [N]; of the K full windows: which sample, end, coverage [K], slots [K, length]."""

class Hysteresis:
    """Scores -> events: begin, end, peak, peak_time, [K] each."""

    def __init__(self, *, on: float = 0.5, off: float = 0.5, refractory: int = 0) -> None: ...
    def push(
        self, times: int | np.ndarray, scores: float | np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]: ...
    def flush(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]: ...

def activate(rows: np.ndarray, activation: str) -> np.ndarray: ...
def top_k(
    rows: np.ndarray, k: int = 1, *, threshold: float | None = None, activation: str = "none"
) -> tuple[np.ndarray, np.ndarray]: ...
def suppress(
    boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, *, iou: float = 0.5, threshold: float | None = None
) -> np.ndarray: ...
