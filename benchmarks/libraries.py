"""INT8 files as a user of NNCF, or of ONNX Runtime's quantizer, makes them by their documentation; nothing of hasten.

python benchmarks/libraries.py nncf|onnxruntime MODEL.onnx CALIBRATE.npz OUT.onnx [--transformer]
"""

import argparse
import logging
import os
import tempfile
import warnings
from pathlib import Path

import numpy as np

CALIBRATE = 300  # samples; what NNCF takes by default


def samples(archive: Path) -> list[dict[str, np.ndarray]]:
    """Feeds of one sample each."""
    with np.load(archive, allow_pickle=False) as data:
        arrays = {k: data[k] for k in data.files}
    return [
        {k: v[i : i + 1] for k, v in arrays.items()} for i in range(min(CALIBRATE, len(next(iter(arrays.values())))))
    ]


def nncf(model: Path, calibrate: Path, out: Path, transformer: bool) -> None:
    """`nncf.quantize` on the ONNX graph; transformers are said to be one, as its documentation asks."""
    os.environ["NNCF_CI"] = "1"  # no telemetry
    import nncf
    import onnx

    feeds = samples(calibrate)
    made = nncf.quantize(
        onnx.load(model),
        nncf.Dataset(feeds),
        subset_size=len(feeds),
        model_type=nncf.ModelType.TRANSFORMER if transformer else None,
    )
    onnx.save(made, out)


def onnxruntime(model: Path, calibrate: Path, out: Path, transformer: bool) -> None:
    """`quantize_static`, QDQ, activations U8, weights S8 per channel, behind the recommended pre-processing."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.rest = iter(samples(calibrate))

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.rest, None)

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        try:
            quant_pre_process(model, prepared)
        except Exception:  # its symbolic shapes do not know every operator
            quant_pre_process(model, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            out,
            Reader(),
            QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("library", choices=("nncf", "onnxruntime"))
    for name in ("model", "calibrate", "out"):
        ask.add_argument(name, type=Path)
    ask.add_argument("--transformer", action="store_true")
    args = ask.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    make = {"nncf": nncf, "onnxruntime": onnxruntime}[args.library]
    make(args.model, args.calibrate, args.out, args.transformer)


if __name__ == "__main__":
    main()
