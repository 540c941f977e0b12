"""What pruning with healing and INT8 give together, over INT8 alone, on the fashion net.

    python benchmarks/recipes.py

Every file runs on its fastest engine, found by a race of its own; then the files race each other. Drops are of 10,000
test images, paired with the network as it was trained.
"""

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from bar import bar
from contest import upper_drop
from hasten import find
from hasten.data import Data
from hasten.export import export
from hasten.measure.flops import count
from hasten.measure.latency import race
from hasten.measure.lock import quiet
from hasten.measure.stand import Entrant, Stand
from hasten.model import OnnxModel
from made import example, made, right

INT8 = "quantize(method=placed)"
HALF = f"prune(0.5, epochs=8, lr=0.002) > {INT8}"
RECIPES = (HALF, *(f"prune({cut}, epochs=8, lr=0.002) > {INT8}" for cut in (0.625, 0.75)))
FEWER, FASTER, DROP = 3.5, 1.5, 0.007  # of HALF
BEST_FASTER, BEST_DROP = 1.8, 0.01  # of the fastest within the drop
LOOKS = 3  # launches by which a file's engine is chosen


def settings(threads: tuple[int, ...] = (1, 2)) -> list[tuple[str, dict[str, object]]]:
    """Engines that run ONNX, with their settings."""
    kinds = {n: k for n, k in find.engines().items() if k.takes == "onnx" and not k.missing()}
    return [
        (name, vars(engine) | {"threads": t})
        for name, kind in kinds.items()
        for engine in kind.variants(True)
        if not engine.fallback
        for t in threads
    ]


def chosen(model: Path, feed: Path) -> Entrant:
    """On its fastest engine."""
    entrants = [Entrant(model, name, how) for name, how in settings()]
    with quiet(), ExitStack() as stack:
        found = race([stack.enter_context(Stand(e, feed)) for e in entrants], launches=LOOKS)
    return min(zip(entrants, range(len(entrants)), strict=True), key=lambda e: found.latency(e[1]).p50_ms)[0]


def main() -> int:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    task, passed = example("fashion/task.py"), []
    original = export(task.original, task.sample()).model
    before, macs = right(task, original), count(original).macs or 0
    files: dict[str, OnnxModel] = {recipe: made(task, recipe) for recipe in (INT8, *RECIPES)}
    with TemporaryDirectory() as scratch, ExitStack() as stack:
        Data(task.split("validate").take(slice(0, 256)).inputs).save(Path(scratch) / "feed")
        entrants = {r: chosen(m.save(Path(scratch) / f"{i}.onnx").path, Path(scratch) / "feed")  # type: ignore[arg-type]
                    for i, (r, m) in enumerate(files.items())}  # fmt: skip
        stack.enter_context(quiet())
        found = race([stack.enter_context(Stand(e, Path(scratch) / "feed")) for e in entrants.values()])
    best = 0.0
    for place, (recipe, model) in enumerate(files.items()):
        lost, most = upper_drop(before, right(task, model, entrants[recipe].engine, entrants[recipe].settings), None)
        over, fewer = found.speedup(place, over=0), macs / (count(model).macs or 1)
        print(
            f"{recipe} on {entrants[recipe].label.partition(' on ')[2]}: {found.latency(place).p50_ms:.3f} ms, "
            f"{over.value:.2f} [{over.low:.2f}, {over.high:.2f}] x INT8 alone, {fewer:.2f} times fewer MACs, "
            f"drop {lost:+.4f}, at most {most:+.4f}",
            flush=True,
        )
        best = max(best, over.value) if most <= BEST_DROP else best
        if recipe == HALF:
            passed += [
                bar("half pruned: times fewer MACs", fewer, f"at least {FEWER}", fewer >= FEWER),
                bar("half pruned: upper end of the drop on test", most, f"at most {DROP}", most <= DROP),
                bar("half pruned: over INT8 alone", over.value, f"at least {FASTER}", over.value >= FASTER),
            ]
    passed.append(
        bar(f"best recipe within {BEST_DROP}: over INT8 alone", best, f"at least {BEST_FASTER}", best >= BEST_FASTER)
    )
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
