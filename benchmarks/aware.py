"""Does training for INT8 bring back what INT8 without training loses?

python benchmarks/aware.py [--epochs N]

On the zoo's residual network, which NNCF's default INT8 file costs more than 0.3 point: the gain of quantize_aware over
it, paired image by image, on either engine. The same over `placed`, which loses less, is printed beside it.
"""

import argparse
import sys
from collections.abc import Iterator

import numpy as np

from bar import bar
from contest import upper_drop
from hasten.task import Task
from made import example, made, right

ENGINES = ("onnxruntime", "openvino")
LOSES = 0.003


def answers(task: Task, engine: str, epochs: int) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Ways to INT8 without training, and what of the test data [N] floats, that way and training for INT8 tell."""
    floats = right(task, made(task, "as it is"), engine)
    trained = right(task, made(task, f"quantize_aware(epochs={epochs}, engine={engine})"), engine)
    for recipe in ("quantize", f"quantize(method=placed, engine={engine})"):
        yield recipe, floats, right(task, made(task, recipe), engine), trained


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--epochs", type=int, default=3)
    args = ask.parse_args()
    passed = []
    for engine in ENGINES:
        for recipe, floats, without, trained in answers(example("zoo/residual.py"), engine, args.epochs):
            lost = float((floats - without).mean())
            gain, low = (-x for x in upper_drop(without, trained, None))
            what = f"{engine}: {recipe} loses {100 * lost:.2f} points; training brings"
            if lost > LOSES:
                passed.append(bar(what, f"{100 * gain:+.2f}, at least {100 * low:+.2f}", "above 0", low > 0))
            else:
                print(f"{what} {100 * gain:+.2f}, at least {100 * low:+.2f}", flush=True)
    passed.append(bar("files of no training that lose more than 0.3 point", len(passed), "at least 1", len(passed) > 0))
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
