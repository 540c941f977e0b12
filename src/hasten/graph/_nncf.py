"""NNCF on an ONNX graph, without its prints, progress bars and telemetry."""

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from hasten.engines import openvino
from hasten.model import Arrays

if TYPE_CHECKING:
    import onnx

    from hasten.graph.quantize import Quantize


def static(proto: "onnx.ModelProto", step: "Quantize", feeds: Sequence[Arrays], skip: list[str]) -> "onnx.ModelProto":
    """Q and DQ by post-training quantization.

    Args:
        proto: simplified, with unique node names.
        feeds: one call's inputs each.
        skip: nodes that stay in floating point.
    """
    with _quiet():
        openvino.load()  # nncf imports it too, and would let it send its note
        import nncf
        from nncf.quantization.advanced_parameters import (
            AdvancedQuantizationParameters,
            AdvancedSmoothQuantParameters,
            QuantizationParameters,
        )
        from nncf.quantization.range_estimator import RangeEstimatorParameters, RangeEstimatorParametersSet

        others = sorted({n.op_type for n in proto.graph.node} - set(step.ops)) if step.ops else []
        advanced = AdvancedQuantizationParameters(
            activations_quantization_params=QuantizationParameters(
                per_channel=None if step.activations_per_channel else False
            ),
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX
            if step.ranges == "minmax"
            else RangeEstimatorParameters(),
            smooth_quant_alphas=AdvancedSmoothQuantParameters()
            if step.smooth_quant
            else AdvancedSmoothQuantParameters(convolution=-1, matmul=-1),
        )
        copy = type(proto)()
        copy.CopyFrom(proto)
        made: onnx.ModelProto = nncf.quantize(
            copy,
            nncf.Dataset(feeds),
            subset_size=len(feeds),
            preset=nncf.QuantizationPreset.PERFORMANCE if step.symmetric else nncf.QuantizationPreset.MIXED,
            model_type=nncf.ModelType.TRANSFORMER if step.transformer else None,
            fast_bias_correction=not step.full_bias_correction,
            ignored_scope=nncf.IgnoredScope(names=skip, types=others, validate=False) if skip or others else None,
            advanced_parameters=advanced,
        )
    return made


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    os.environ.setdefault("NNCF_CI", "1")  # read when nncf is imported: no telemetry
    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")  # of its imports and of numpy inside its statistics
            yield
    finally:
        logger.setLevel(level)
