"""hasten check says what each engine really does, on every single operator that there is here; and is quick again.

python benchmarks/check.py [--only TARGET]...
"""

import argparse
import os
import sys
import tempfile
import time
from collections import Counter

from bar import bar
from engine_truth import TRUTH
from hasten.diagnose.support import check
from hasten.measure.survey import random_samples
from shapes import resnet50
from single_ops import inputs_of, models

LEAST, QUICK_S = 60, 15.0


def agreement(target: str) -> bool:
    """Of the whole way, a model at a time, with what the engine's own API shows."""
    every, wrong, seen = models(), [], Counter[str]()
    for name, model in every.items():
        feed = inputs_of(model)
        found, truth = check(model, target, feed).rows[0].word, TRUTH[target](model, feed)
        seen[truth] += 1
        if found != truth:
            wrong.append(f"{name}: {found}, it is {truth}")
    print(f"{target}: {dict(seen)}{'; ' if wrong else ''}{'; '.join(wrong)}", flush=True)
    enough = len(every) >= LEAST and {"native", "falls back", "refused"} <= set(seen)
    return bar(f"check --target {target} agrees with the engine", f"{len(every) - len(wrong)} of {len(every)}",
               f"all, {LEAST} at least", enough and not wrong)  # fmt: skip


def silent() -> bool:
    """OpenVINO drops antialias without a word."""
    model = models()["resize-antialias"]
    row = check(model, "openvino", inputs_of(model)).rows[0]
    named = row.word == "refused" and row.why.endswith("it ignores the attribute antialias")
    return bar("OpenVINO's silent antialias is told by name", row.why or "nothing", "refused, and named", named)


def again(target: str) -> bool:
    """ResNet-50, whose nodes have all been asked before."""
    model = resnet50()
    inputs = random_samples(model.signature, 0).inputs
    began = time.monotonic()
    first = check(model, target, inputs)
    middle = time.monotonic()
    second = check(model, target, inputs)
    took = time.monotonic() - middle
    print(f"{target}: ResNet-50 after {middle - began:.1f} s, again after {took:.1f} s", flush=True)
    return bar(f"ResNet-50 on {target} again, s", took, f"at most {QUICK_S:g}", first == second and took <= QUICK_S)


def main() -> int:
    ask = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    ask.add_argument("--only", action="append", choices=sorted(TRUTH), help="this target; may be repeated")
    chosen = ask.parse_args().only or sorted(TRUTH)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["HASTEN_CACHE"] = cache
        passed = [agreement(target) for target in chosen]
        passed += [silent()] if "openvino" in chosen else []
        passed += [again(target) for target in chosen]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
