"""Results as boost gives them, made by hand: one with a winner, one without, and hostile words."""

from typing import Any

HOSTILE = """<script>alert("1")</script><img src=x onerror=alert(2)> ${7*7} {{ 7*7 }} [bold]it's & so on[/bold]"""


def row(
    recipe: str, engine: str, status: str, speedup: float | None, drop: float | None, **more: Any
) -> dict[str, Any]:
    """A row of spec/result.schema.json, its figures made to fit the speedup and the drop."""
    known = speedup is not None
    return {
        "recipe": recipe,
        "engine": engine,
        "status": status,
        "reason": "",
        "precision": "int8" if "quantize" in recipe else "bf16" if "bf16" in engine else "f32",
        "int8_share": 0.95 if "quantize" in recipe else 0.0,
        "params": 1_100_000 if known else None,
        "macs": 124_000_000 if known else None,
        "size_mb": 1.2 if known else None,
        "latency_p50_ms": 6.4 / speedup if known else None,
        "latency_p90_ms": 7.0 / speedup if known else None,
        "latency_p99_ms": None,
        "latency_mean_ms": None,
        "latency_worst_ms": None,
        "early_share": None,
        "throughput_per_s": 160.0 * speedup if known else None,
        "throughput_batch": 8 if known else None,
        "peak_memory_mb": 210.0 if known else None,
        "accuracy": None if drop is None else 0.9301 - drop,
        "accuracy_drop": drop,
        "accuracy_drop_ci95": None if drop is None else [drop - 0.0015, drop + 0.0015],
        "n_samples": 10_000 if known else None,
        "split": "validate",
        "speedup": speedup,
        "speedup_ci95": [speedup * 0.98, speedup * 1.02] if known else None,
        "speedups": {},
        "seconds_spent": 12.5,
        **more,
    }


def result(**more: Any) -> dict[str, Any]:
    """A search with a winner: five baselines, six candidates of every status."""
    baselines = [
        row("as it is", "torch(threads=2, memory_format=channels_last)", "baseline", 1.0, 0.0),
        row("as it is", "onnxruntime(threads=2)", "baseline", 3.1, 0.0),
        row("as it is", "openvino(threads=2)", "baseline", 2.9, 0.0),
        row("as it is", "openvino(threads=2, hint=bf16)", "baseline", 5.2, 0.0002),
        row("as it is", "torch(threads=2)", "baseline", 0.61, 0.0),
    ]
    best = ("quantize(method=nncf)", "openvino(threads=2)")
    over = {
        b["engine"]: {"value": 7.5 / b["speedup"], "ci95": [7.3 / b["speedup"], 7.7 / b["speedup"]]} for b in baselines
    }
    trials = [
        row("simplify", "onnxruntime(threads=2)", "kept", 3.2, 0.0),
        row("quantize(method=nncf)", "onnxruntime(threads=2)", "kept", 6.9, -0.0007),
        row(*best, "kept", 7.4, 0.0009),
        row(
            "quantize(method=onnxruntime)",
            "openvino(threads=2)",
            "rejected",
            8.1,
            0.0061,
            reason="it may lose 0.0076, and 0.005 is allowed",
        ),
        row("half", "onnxruntime(threads=2)", "rejected", 1.4, 0.62, reason="it may lose 0.6215, and 0.005 is allowed"),
        row(
            "half",
            "openvino(threads=2)",
            "failed",
            None,
            None,
            precision="",
            int8_share=None,
            reason="openvino refuses the model",
        ),
    ]
    conditions = {
        "cpu": "A Processor @ 2.00GHz",
        "isa": ["avx2", "avx512_vnni"],
        "cores": 2,
        "affinity": [0, 1],
        "quota": None,
        "threads": 2,
        "ram_gb": 16.0,
        "os": "Debian GNU/Linux 12",
        "kernel": "6.1",
        "python": "3.11.7",
        "versions": {"hasten": "0.1.0", "torch": None},
        "load": 0.1,
        "date": "2026-01-01T00:00:00+00:00",
        "seed": 0,
    }
    made = {
        "format": 1,
        "task": "fashion",
        "command": "hasten boost examples/fashion/task.py -o out --max-drop 0.005",
        "metric": {"name": "top1", "higher_is_better": True},
        "max_drop": 0.005,
        "verdict": "quantize(method=nncf) on openvino(threads=2): 7.50x as fast as the original",
        "baselines": baselines,
        "winner": row(*best, "kept", 7.5, 0.0012, split="test", speedups=over),
        "trials": trials,
        "conditions": conditions,
    }
    return made | more


def refused() -> dict[str, Any]:
    """A search in which the answer is no."""
    return result(winner=None, verdict="nothing within the budget is faster than the model as it is")


def hostile() -> dict[str, Any]:
    """Every text that a user, a file or an engine can put into a result, at its worst."""
    made = result(task=HOSTILE, command=HOSTILE, verdict=HOSTILE, metric={"name": HOSTILE, "higher_is_better": True})
    made["conditions"] |= {"cpu": HOSTILE, HOSTILE: HOSTILE}
    for entry in (*made["baselines"], *made["trials"], made["winner"]):
        entry |= {
            "recipe": HOSTILE,
            "engine": HOSTILE,
            "reason": HOSTILE,
            "precision": HOSTILE,
            "speedups": {HOSTILE: {"value": 1.0, "ci95": None}},
        }
    return made


def comparison(**more: Any) -> dict[str, Any]:
    """A comparison: a control, three techniques alone, of which one could not be made, and two together."""
    search = result()
    reference, bf16 = "onnxruntime(threads=2)", "openvino(threads=2, hint=bf16)"

    def trials(recipe: str, speedup: float, drop: float, status: str = "kept") -> list[dict[str, Any]]:
        over = {"value": speedup, "ci95": [speedup * 0.98, speedup * 1.02]}
        return [
            row(recipe, reference, status, speedup, drop, speedups={reference: over}),
            row(recipe, bf16, status, 1.2 * speedup, drop, speedups={
                reference: over, bf16: {"value": 0.6 * speedup, "ci95": [0.59 * speedup, 0.61 * speedup]},
            }),
        ]  # fmt: skip

    def entry(recipe: str, role: str, technique: str, trials: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        tested = {k: trials[0][k] for k in ("accuracy", "accuracy_drop", "accuracy_drop_ci95", "n_samples")}
        return {
            "recipe": recipe, "role": role, "technique": technique, "needs": ["train"], "minutes": 3.5, "untouched": {},
            "reason": "", "said": [], "trials": trials, "best": 1, "test": tested | {"split": "test"}, **more,
        }  # fmt: skip

    over = {b["engine"]: {reference: {"value": b["speedup"] / 3.1, "ci95": None}} for b in search["baselines"]}
    rows = [
        entry("heal(epochs=3)", "control", "", trials("heal(epochs=3)", 1.0, -0.002)),
        entry("prune(epochs=3)", "alone", "prune", trials("prune(epochs=3)", 2.5, 0.0031),
              untouched={"prune(epochs=3)": {"head": "its channels are outputs of the network"}}),
        entry("distil(width=0.25)", "alone", "distil", trials("distil(width=0.25)", 5.5, 0.03, "rejected")),
        {"recipe": "half", "role": "alone", "technique": "half", "needs": [], "minutes": 0.0, "untouched": {},
         "reason": "half has nothing to do: no weights", "said": [], "trials": [], "best": None, "test": None},
        entry("prune(epochs=3) > quantize", "together", "", trials("prune(epochs=3) > quantize", 6.0, 0.004)),
    ]  # fmt: skip
    depends = {"depends": True, "said": "applies to 5 of 6 networks; recurrent: no layer can lose channels"}
    made = {
        "format": 1, "task": "fashion", "command": "hasten compare examples/fashion/task.py -o out/compared --quick",
        "metric": search["metric"], "max_drop": 0.005, "epochs": 3, "samples": {"train": 25_600, "validate": 2_500},
        "conditions": search["conditions"], "reference": reference,
        "baselines": [{**b, "speedups": over[b["engine"]]} for b in search["baselines"]],
        "rows": rows,
        "zoo": [{"network": "plain", "technique": "prune", "recipe": "prune(0.3)", "untouched": ["head"], "reason": "",
                 "speedups": {"onnxruntime": {"value": 1.4, "ci95": [1.3, 1.5]}}}],
        "dependence": [{"technique": "prune", "architecture": depends, "hardware": {"depends": None, "said": "-"}}],
        "final": {"recipe": "prune(epochs=3) > quantize", "engine": bf16, "speedup": 7.1, "speedup_ci95": [6.9, 7.3]},
        "verdict": "prune(epochs=3) > quantize on openvino: 7.10 [6.90, 7.30] times as fast as the model as it is",
    }  # fmt: skip
    return made | more
