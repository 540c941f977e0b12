"""Is the fashion net trained to the end? The checkpoint is scored again, and its record read.

python benchmarks/fashion_training.py
"""

import argparse
import json
import sys

import torch

from bar import bar
from networks import EXAMPLES
from networks.export import accuracy, recall
from networks.fashion import images

RIGHT, GAIN, SIZE_MB = 93.5, 0.1, 5.0


def main() -> int:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    from fashion.net import FashionNet  # examples/fashion

    path = EXAMPLES / "fashion" / "fashion.safetensors"
    net = recall(FashionNet(), path)
    torch.set_num_threads(2)
    right, size_mb = accuracy(net, images("t10k", slice(None))), path.stat().st_size / 1e6
    record = json.loads((EXAMPLES / "fashion" / "train.json").read_text())
    further = len(record["epochs"]) - int(record["settings"]["epochs"])
    gain = float(record["gain_of_further_epochs"])
    params = sum(p.numel() for p in net.parameters())
    passed = [
        bar("accuracy on 10,000 test images, percent", right, f"at least {RIGHT}", right >= RIGHT),
        bar("further epochs on record", further, "5", further == 5),
        bar("what they gain on validate, points", gain, f"less than {GAIN}", gain < GAIN),
        bar("checkpoint, MB", size_mb, f"under {SIZE_MB}", size_mb < SIZE_MB),
        bar("parameters, millions", params / 1e6, "about 1", 0.8 <= params / 1e6 <= 1.3),
    ]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
