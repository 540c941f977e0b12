"""The kinds of reasons for which a module cannot be exported: how each is known, and what helps by hand.

What exporters raise was collected with torch 2.13 (dynamo and the older exporter), ONNX Runtime as the judge.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One kind; `said` is looked for in what the exporters raised, exception's type included."""

    name: str
    mend: str
    said: str = ""


CONTROL = Kind(
    "control flow that depends on data",
    "write both ways and choose with torch.where, or use torch.cond and torch.while_loop",
    r"GuardOnDataDependent|data-dependent expression|Dynamic control flow is not supported",
)
RANDOM = Kind(
    "random numbers",
    "draw them outside of the network and hand them in, or leave them out in eval mode: dropout(x, p, self.training)",
)
BATCH = Kind(
    "a length that is free was written down",
    "use x.shape[0] in place of len(x) and of loops over the batch, and -1 in views",
    r"where torch gives \[|specialized it to be a constant|Constraints violated|Cannot split using values"
    r"|could not be broadcast together|cannot be reshaped to the requested shape|answered outside the signature",
)
OUTPUT = Kind(
    "an answer that is not made of tensors alone",
    "answer with a tensor, a sequence or a dict of them",
    r"the model's '.*' is a ",
)
COMPLEX = Kind(
    "complex numbers",
    "keep real and imaginary part in an axis of their own: torch.view_as_real",
    r"complex(64|128)|ComplexFloat|ComplexDouble|Unknown number type: complex|does not currently support complex",
)
CUSTOM = Kind(
    "an operator of your own",
    "write it with torch's operators for the export, or give it a translation (custom_translation_table)",
    r"op='(?!aten\.|prims?\.|higher_order\.|torchvision\.)\w+\.|unrecognized namespace|prim::PythonOp",
)
SCRIPTED = Kind(
    "a scripted module inside",
    "hand over the module as it was before torch.jit.script",
    r"ScriptModule|__torch__\.|is not an instance of torch\.nn\.Parameter",
)
PACKED = Kind(
    "packed sequences",
    "leave the padding in, and mask it afterwards",
    r"pack_padded|_VF\._pack|PackedSequence|failed to unpack the object at pos",
)
OPERATOR = Kind(
    "an operator that ONNX has no form for",
    "write it with others",
    r"No ONNX function found|UnsupportedOperatorError|SymbolicValueError|does not support .* reduction|ONNX export of",
)
ENGINE = Kind(
    "an operator or type that the engine has no kernel for",
    "compute in float32 there",
    r"NOT_IMPLEMENTED|Could not find an implementation",
)
PYTHON = Kind(
    "a value that leaves torch",
    "compute with tensors: no .item(), .tolist(), .numpy() or int() of them in forward",
    r"\.numpy\(\) is not supported|FakeTensor|TensorWrapper|doesn't have storage|cond must be a bool",
)
IN_PLACE = Kind(
    "writing into a view or an input",
    "write x = x + 1 in place of x += 1, and torch.where in place of x[mask] = value",
    r"mutat|in-place|inplace",
)
DIFFERS = Kind("an operator that the exporters turn into something else", "write it with others", r"differs from torch")
OTHER = Kind("the exporters give up", "write the line in another way, or leave it out of the network")

_IN_ORDER = (
    CONTROL, OUTPUT, CUSTOM, SCRIPTED, PACKED, COMPLEX, BATCH, OPERATOR, ENGINE, PYTHON, IN_PLACE, DIFFERS,
)  # fmt: skip


def kind_of(said: Iterable[str]) -> Kind:
    """The first kind of which one of the exporters speaks; what was said first counts most where kinds are equal."""
    texts = list(said)
    return next((k for k in _IN_ORDER if any(re.search(k.said, text) for text in texts)), OTHER)
