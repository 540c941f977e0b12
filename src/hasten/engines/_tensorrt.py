"""From ONNX to an engine file, by TensorRT or by TensorRT-RTX: one interface under two names, and one code for both."""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hasten import files
from hasten.engines import _rtx
from hasten.engines._source import source
from hasten.errors import InputError, UsageError
from hasten.model import OnnxFile, OnnxModel, Signature

Configure = Callable[[Any, Any], None]  # (builder, config): what only one of the two packages has


@dataclass(frozen=True)
class Lengths:
    """What the free axes of a network may be: an engine is made for a range, and tuned for one point of it."""

    typical: int  # samples a call that it is tuned for
    most: int  # samples a call
    longest: int  # of every other free axis, and tuned for that
    fixed: bool = False  # a DLA takes calls of `typical` samples only

    def check(self) -> None:
        """
        Raises:
            UsageError: lengths below 1, or out of order.
        """
        if not 1 <= self.typical <= self.most or self.longest < 1:
            raise UsageError(
                f"typical={self.typical}, most={self.most} and longest={self.longest} are no lengths of axes",
                "give 1 <= typical <= most, and longest from 1",
            )

    def of(self, signature: Signature, name: str, shape: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        """The least, the typical and the largest shape of an input."""
        axes = next(t.shape for t in signature.inputs if t.name == name)

        def side(batch: int, other: int) -> tuple[int, ...]:
            free = (batch if i == 0 and a == signature.batch else other for i, a in enumerate(axes))
            return tuple(f if length < 0 else length for f, length in zip(free, shape, strict=True))

        if self.fixed:
            return (side(self.typical, self.longest),) * 3
        return side(1, 1), side(self.typical, self.longest), side(self.most, self.longest)


def serialized(
    trt: Any,
    model: OnnxModel | OnnxFile,
    lengths: Lengths,
    configure: Configure,
    timing: Path | None = None,
    strong: bool = True,
) -> bytes:
    """The engine file. Precision is what the ONNX file says, by its types and its Q and DQ; f32 is no TF32.

    Args:
        trt: the package.
        configure: the rest of the settings.
        timing: where what was timed is kept, so that the next build is faster and gives the same.
        strong: False only for what precedes strong typing: the DLA of TensorRT 10.

    Raises:
        InputError: the parser or the builder refuses the model, with the node and the user's module.
    """
    _admit(model)
    opened = _rtx.opened(trt, strong)
    read = source(model)
    parsed = opened.parser.parse(read) if isinstance(read, bytes) else opened.parser.parse_from_file(str(read))
    if not parsed:
        raise _refused(model, opened.faults())
    config = opened.builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    _profile(opened, config, lengths, model.signature)
    configure(opened.builder, config)
    with _timed(config, timing):
        plan = opened.builder.build_serialized_network(opened.network, config)
    if plan is None:
        said = next((s for kind, s in opened.said if kind.endswith("ERROR")), "no reason given")
        raise InputError(f"the builder refuses the model: {brief(said)}", "try another engine")
    return bytes(plan)


def _admit(model: OnnxModel | OnnxFile) -> None:
    """No file that is known to be refused goes to the parser: at a scale that is no constant, the process ends.

    Raises:
        InputError: the first that is wrong with its Q and DQ.
    """
    if isinstance(model, OnnxModel):
        from hasten.graph.lint import lint

        for finding in lint(model):
            if finding.refused:
                raise InputError(f"{finding.node} ({finding.module}): {finding.what}", finding.mend)


def _refused(model: OnnxModel | OnnxFile, errors: "list[_rtx.Fault]") -> InputError:
    from hasten.provenance import module_of

    fault = errors[0] if errors else _rtx.Fault(-1, "", "", "no reason given")
    nodes = model.proto.graph.node if isinstance(model, OnnxModel) else []
    module = module_of(nodes[fault.place]) if 0 <= fault.place < len(nodes) else None
    where = " of ".join(filter(None, (f"{fault.op} {fault.name}".strip(), module)))
    return InputError(
        f"the parser refuses the model{f' at {where}' if where else ''}: {brief(fault.why)}",
        "hasten check --target tensorrt names every node that it refuses",
    )


def _profile(opened: "_rtx.Opened", config: Any, lengths: Lengths, signature: Signature) -> None:
    """One range for each input with a free axis.

    Raises:
        InputError: the values of an input are a shape: no range of lengths says what they may be.
    """
    inputs = [opened.network.get_input(i) for i in range(opened.network.num_inputs)]
    for tensor in inputs:
        if tensor.is_shape_tensor:
            raise InputError(f"the values of {tensor.name!r} are a shape inside the network", "export it for one shape")
    free = [t for t in inputs if any(length < 0 for length in t.shape)]
    if free:
        profile = opened.builder.create_optimization_profile()
        for tensor in free:
            profile.set_shape(tensor.name, *lengths.of(signature, tensor.name, tuple(tensor.shape)))
        config.add_optimization_profile(profile)


@contextlib.contextmanager
def _timed(config: Any, path: Path | None) -> Iterator[None]:
    """With what earlier builds have timed; one of another version or GPU is refused by the package, and made anew."""
    if path is None:
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TensorRT-RTX has the calls, and times nothing
        cache = config.create_timing_cache(path.read_bytes() if path.is_file() else b"")
        if not config.set_timing_cache(cache, False):
            config.set_timing_cache(config.create_timing_cache(b""), False)
        yield
        files.write(path, bytes(config.get_timing_cache().serialize()))


def brief(said: str) -> str:
    """What the engine says, without where in its own sources it says so."""
    return said.partition(" In ")[0].removesuffix(".").partition("[checkMacros")[0].strip()[:300] or "no reason given"
