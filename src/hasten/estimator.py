"""A fitted scikit-learn estimator -> ONNX, proven against its own answers before it is handed over."""

import contextlib
import copy
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from hasten.data import Data
from hasten.engine import available
from hasten.errors import InputError, MissingError
from hasten.forest import OPERATORS, Forest
from hasten.model import OnnxModel
from hasten.provenance import label

TOLERANCE = 1e-5  # of the largest answer, at least of 1: engines add up hundreds of trees in 32 bits
PROBABILITIES, VALUE = "probabilities", "value"  # names of outputs
OPSETS = {"": 18, "ai.onnx.ml": 3}
_EDGES = 256  # thresholds on which samples are put, to see that a tie goes the same way
_MEND = "give an estimator that skl2onnx converts, fitted on f32 features"


def is_estimator(made: object) -> bool:
    """Whether it is scikit-learn's, or in its style (XGBoost's and LightGBM's are); scikit-learn is not imported."""
    base: Any = sys.modules.get("sklearn.base")
    return base is not None and isinstance(made, base.BaseEstimator)


def converted(estimator: Any, data: Data) -> OnnxModel:
    """The ONNX model that answers as the estimator does.

    A classifier gives `probabilities` f32 [N, classes], in the order of its `classes_`; its label is the best of them.
    A regressor gives `value` f32 [N, targets]. scikit-learn compares f32 features with f64 thresholds: those are
    rounded down to f32, which leaves every comparison `x <= t` as it is.

    Args:
        estimator: fitted.
        data: one input f32 [N, features], whose name the model's input takes; every sample is compared, and the same
            samples put onto thresholds.

    Raises:
        MissingError: skl2onnx or an engine is not installed.
        InputError: it cannot be converted, or answers otherwise as ONNX.
    """
    try:
        import skl2onnx  # noqa: F401
    except ImportError as fault:
        raise MissingError("skl2onnx is not installed", "pip install 'hasten[trees]'") from fault
    kind = type(estimator).__name__
    if len(data.inputs) != 1 or any(a.dtype != np.float32 or a.ndim != 2 for a in data.inputs.values()):
        found = {name: f"{a.dtype.name} {list(a.shape)}" for name, a in data.inputs.items()}
        raise InputError(f"{kind} takes one input f32 [N, features]", f"the data has {found}")
    ((name, features),) = data.inputs.items()
    classes = hasattr(estimator, "predict_proba")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            proto = _onnx(_rounded(estimator), name, features.shape[1], classes)
    except Exception as fault:  # each converter has its own errors
        said = (str(fault).strip().splitlines() or [type(fault).__name__])[0][:200]
        raise InputError(f"{kind} cannot be converted to ONNX ({said})", _MEND) from fault
    model = OnnxModel(label(_named(proto, classes, kind)))
    _compare(estimator, model, name, np.concatenate([features, _edges(model, name, features)]), classes)
    return model


def _onnx(estimator: Any, name: str, features: int, classes: bool) -> Any:
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    options = {id(estimator): {"zipmap": False}} if classes else None
    with _whole_numbers():
        return to_onnx(
            estimator,
            initial_types=[(name, FloatTensorType([None, features]))],
            options=options,
            target_opset=OPSETS,
        )


@contextlib.contextmanager
def _whole_numbers() -> Iterator[None]:
    """skl2onnx 1.20 hands truth values to onnx, which since 1.20 takes whole numbers alone."""
    from skl2onnx.common import _container

    make = _container.make_node

    def made(*args: Any, **attributes: Any) -> Any:
        lists = {k: [int(i) for i in v] for k, v in attributes.items()
                 if isinstance(v, list) and any(isinstance(i, bool | np.bool_ | np.uint8) for i in v)}  # fmt: skip
        return make(*args, **attributes | lists)

    _container.make_node = made
    try:
        yield
    finally:
        _container.make_node = make


def _rounded(estimator: Any) -> Any:
    """A copy whose trees compare with the largest f32 that is not above their threshold."""
    made = copy.deepcopy(estimator)
    for held in _thresholds(made):
        narrow = held.astype(np.float32)
        over = narrow > held
        narrow[over] = np.nextafter(narrow[over], np.float32(-np.inf))
        held[...] = narrow
    return made


def _thresholds(owner: Any) -> Iterator[np.ndarray]:
    """Those of scikit-learn's trees, as arrays into their memory, wherever they are inside an estimator."""
    if isinstance(owner, list | tuple) or (isinstance(owner, np.ndarray) and owner.dtype == object):
        for part in owner:
            yield from _thresholds(part)
    elif hasattr(owner, "tree_"):
        yield owner.tree_.threshold
    elif type(owner).__name__ == "TreePredictor":
        yield owner.nodes["num_threshold"]
    elif is_estimator(owner):
        for name in ("estimators_", "estimator_", "_predictors", "steps", "calibrated_classifiers_"):
            yield from _thresholds(getattr(owner, name, ()))


def _named(proto: Any, classes: bool, kind: str) -> Any:
    """With one output by its plain name, each operator set said once, and a name that is always the same."""
    graph = proto.graph
    graph.name = kind
    wanted = graph.output[1 if classes else 0]
    kept = type(wanted)()
    kept.CopyFrom(wanted)
    before, after = wanted.name, PROBABILITIES if classes else VALUE
    needed = {before}
    nodes: list[Any] = []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            nodes.insert(0, node)
    for node in nodes:
        for names in (node.input, node.output):
            names[:] = [after if n == before else f"{n}_" if n == after else n for n in names]
    kept.name = after
    made = [type(n).FromString(n.SerializeToString()) for n in nodes]
    used = [w for w in graph.initializer if w.name in needed]
    weights = [type(w).FromString(w.SerializeToString()) for w in used]
    for field, values in (("node", made), ("output", [kept]), ("initializer", weights)):
        graph.ClearField(field)
        getattr(graph, field).extend(values)
    for value, axes in ((graph.input[0], ("N",)), (graph.output[0], ("N",))):
        value.type.tensor_type.shape.dim[0].Clear()
        value.type.tensor_type.shape.dim[0].dim_param = axes[0]
    del proto.opset_import[:]
    for domain, version in OPSETS.items():
        proto.opset_import.add(domain=domain, version=version)
    return proto


def _edges(model: OnnxModel, name: str, features: np.ndarray) -> np.ndarray:
    """f32 [n, features]: samples of which one feature is a threshold, or the next number above it."""
    found = []
    for node in model.proto.graph.node:
        if node.op_type in OPERATORS and node.input[0] == name:
            forest = Forest.of(node)
            found += [np.stack([forest.feature, forest.threshold.astype(np.float32)], 1)[~forest.leaf]]
    places = np.concatenate(found) if found else np.empty((0, 2))
    places = places[np.unique(np.linspace(0, len(places) - 1, min(_EDGES, len(places))).round().astype(int))]
    at = np.tile(places[:, 0].astype(int), 2)
    bound = places[:, 1].astype(np.float32)
    made = features[np.arange(len(at)) % len(features)].copy()
    made[np.arange(len(at)), at] = np.concatenate([bound, np.nextafter(bound, np.float32(np.inf))])
    return made


def _compare(estimator: Any, model: OnnxModel, name: str, features: np.ndarray, classes: bool) -> None:
    """
    Raises:
        InputError: a value further away than the tolerance, or another label where the best is clear.
        MissingError: no engine here that runs it.
    """
    kind, engines = type(estimator).__name__, available("onnx")
    session, said = None, ""
    for engine in engines:
        try:
            session = engine.compile(model)
            break
        except InputError as fault:
            said = f"; {fault}"
    if session is None:
        raise MissingError(f"no engine here runs {kind}{said}", "pip install 'hasten[onnxruntime]'")
    with session:
        came = next(iter(session({name: np.ascontiguousarray(features)}).values())).astype(np.float64)
    right = np.asarray(estimator.predict_proba(features) if classes else estimator.predict(features), np.float64)
    right = right.reshape(len(features), -1)
    if right.shape != came.shape:
        raise InputError(f"{kind} answers {list(right.shape)} and as ONNX {list(came.shape)}", _MEND)
    allowed = TOLERANCE * max(1.0, float(np.abs(right).max()))
    apart = np.abs(right - came).max(1)
    if not apart.max() <= allowed:
        row = int(apart.argmax())
        raise InputError(
            f"{kind} answers otherwise as ONNX: sample {row} differs by {apart[row]:.3g}",
            f"at most {allowed:.3g} is allowed: fit it on features that are f32 already",
        )
    if classes:
        first, second = np.sort(right, 1)[:, :-3:-1].T
        told = np.asarray(estimator.classes_)[came.argmax(1)]
        wrong = (told != estimator.predict(features)) & (first - second > 2 * allowed)
        if wrong.any():
            raise InputError(
                f"{kind} tells another class as ONNX in {int(wrong.sum())} samples",
                "its predict is not the best of its predict_proba: calibrate it first",
            )
