"""EfficientNet-Lite0 in INT8 and pruned: how near do its answers stay, over the frames of a video?

    python benchmarks/agreement.py

Agreement of the best class and cosine of the logits with the FP32 network, on crops of frames that neither calibration
nor training has seen; a frame is a group. Labels are not needed: what trains learns the network's own answers.
"""

import argparse
import sys

import numpy as np

from bar import bar
from contest import upper_drop
from hasten import Data, Task, find
from hasten.export import export
from hasten.measure.flops import count
from hasten.model import OnnxModel
from hasten.recipe import Recipe
from networks import efficientnet

ROLLED_BACK, CUT = "quantize(method=placed)", "prune(0.1)"
PRUNED = f"{CUT} > heal(epochs=4, teacher=1, lr=0.0005, batch=32)"
MAX_DROP, CROPS = 0.03, 1_500


def task() -> Task:
    """The network with unlabelled crops of three stretches of the video."""
    net, video = efficientnet.network(), efficientnet.frames()
    calibrate = Data(efficientnet.typical(video))
    train = Data({"image": np.concatenate([efficientnet.crops(f) for f in video[:80]])}).spread(CROPS)
    parts = {}
    for part in ("validate", "test"):
        made = efficientnet.confident(net, video, *efficientnet.STRETCHES[part])
        parts[part] = Data({"image": made["image"]}, groups=made["groups"])
    return Task("efficientnet", lambda: net, "agreement", calibrate=calibrate, train=train, **parts)


def logits(model: OnnxModel, engine: str, data: Data) -> np.ndarray:
    """f32 [N, 1000]."""
    with find.engine(engine)().compile(model) as session:
        return np.concatenate([next(iter(session(feed).values())) for feed in data.batches(16)])


def compared(given: Task, model: OnnxModel, floats: dict[str, np.ndarray], engine: str, part: str) -> dict[str, float]:
    """Agreement, the upper end of its drop, and the mean cosine."""
    data, wanted = given.split(part), floats[part]
    made = logits(model, engine, data)
    assert np.isfinite(made).all()
    agrees = (made.argmax(1) == wanted.argmax(1)).astype(float)
    cosine = (made * wanted).sum(1) / np.linalg.norm(made, axis=1) / np.linalg.norm(wanted, axis=1)
    _, most = upper_drop(np.ones(len(agrees)), agrees, data.groups)
    return {"agreement": float(agrees.mean()), "at_most": most, "cosine": float(cosine.mean())}


def main() -> int:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    given, passed = task(), []
    original = export(given.original, given.sample()).model
    floats = {part: logits(original, "onnxruntime", given.split(part)) for part in ("validate", "test")}
    for engine in ("onnxruntime", "openvino"):
        recipe: Recipe | None = Recipe.parse(ROLLED_BACK.replace(")", f", engine={engine})"))
        while recipe is not None:
            model = recipe(given.original, given)
            validate = compared(given, model, floats, engine, "validate")
            if validate["at_most"] <= MAX_DROP or recipe.milder is None:
                break
            print(f"{recipe}: may lose {validate['at_most']:.4f} on validate: rolled back", flush=True)
            recipe = recipe.milder
        found = compared(given, model, floats, engine, "test")
        what = f"{recipe} on {engine}: agreement {found['agreement']:.4f}, cosine {found['cosine']:.4f}"
        for part, most in (("validate", validate["at_most"]), ("test", found["at_most"])):
            passed.append(bar(f"{what}; may lose on {part}", most, f"at most {MAX_DROP}", most <= MAX_DROP))
    cut, pruned = (Recipe.parse(recipe)(given.original, given) for recipe in (CUT, PRUNED))
    share = (count(pruned).macs or 0) / (count(original).macs or 1)
    for engine in ("onnxruntime", "openvino"):
        before, found = (compared(given, model, floats, engine, "test") for model in (cut, pruned))
        what = f"{PRUNED} on {engine}: agreement {found['agreement']:.4f}, cosine {found['cosine']:.4f}"
        passed += [
            bar(f"{what}; share of the MACs", share, "below 1", share < 1),
            bar(
                f"{what}; agreement without healing {before['agreement']:.4f}; healing brings",
                found["agreement"] - before["agreement"],
                "above 0",
                found["agreement"] > before["agreement"],
            ),
        ]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
