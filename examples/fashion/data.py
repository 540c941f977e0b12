"""Fashion-MNIST (Xiao et al. 2017, arXiv 1708.07747, MIT licence) as arrays, found or fetched from Debian's package."""

import gzip
from pathlib import Path

import numpy as np

from hasten import Answer, Pipeline, Prepare
from hasten.debian import unpacked

PACKAGE = "dataset-fashion-mnist"
INSTALLED = Path("/usr/share/datasets/fashion-mnist")
LABELS = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
PIPELINE = Pipeline(
    {"image": Prepare("image", source="grey", colour="grey", mean=(72.93,), std=(90.015,))},  # of the training pixels
    answer=Answer("classes", labels=LABELS),
)


def folder() -> Path:
    """Where the four idx files lie; fetched into the cache (no root needed) when the package is not installed."""
    if (INSTALLED / "train-images-idx3-ubyte.gz").exists():
        return INSTALLED
    return unpacked(PACKAGE) / INSTALLED.relative_to("/")


def read(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, 28, 28] and labels int64 [N] of `split`, "train" (60,000) or "t10k" (10,000)."""
    place = folder()
    images = np.frombuffer(gzip.decompress((place / f"{split}-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16)
    labels = np.frombuffer(gzip.decompress((place / f"{split}-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)
    return images.reshape(-1, 28, 28), labels.astype(np.int64)
