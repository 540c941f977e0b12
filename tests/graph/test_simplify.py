"""simplify: plainer graphs, the same numbers."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper, parser

from hasten.errors import NotApplicable
from hasten.graph.simplify import Simplify, simplified
from hasten.model import OnnxModel
from hasten.provenance import carry, label, module_of

CLOSE = 1e-5  # of the largest output: folding changes the order of a few f32 roundings


def graph(text: str, opset: int = 17) -> onnx.ModelProto:
    return parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]> {text}')


def same_numbers(before: onnx.ModelProto, after: onnx.ModelProto, **feed: np.ndarray) -> None:
    onnx.checker.check_model(after, full_check=True)
    assert OnnxModel(after).signature == OnnxModel(before).signature
    for old, new in zip(run(before, feed), run(after, feed), strict=True):
        np.testing.assert_allclose(new, old, rtol=0, atol=CLOSE * max(1, float(np.abs(old).max())))


def run(proto: onnx.ModelProto, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    """As the graph says, without the engine's own rewriting."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feed)


def operators(proto: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in proto.graph.node]


def image(n: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 2, 4, 4)).astype(np.float32)


STATISTICS = """
    scale = Constant<value = float[2] {0.5, 1.5}>()
    beta = Constant<value = float[2] {0.1, 0.0}>()
    mean = Constant<value = float[2] {0.3, 0.2}>()
    var = Constant<value = float[2] {0.7, 1.1}>()"""
WEIGHT = "w = Constant<value = float[2, 2, 1, 1] {1, 2, 3, 4}>()"
NORM = "BatchNormalization<epsilon = 0.01>"


@pytest.mark.parametrize("conv", ["Conv(x, w)", "Conv(x, w, mean)", "ConvTranspose(x, w, mean)", "Conv(x, w, beta)"])
def test_batch_norm_goes_into_the_convolution(conv: str) -> None:
    """Without a bias, with one, and with a bias that the batch norm shares."""
    before = graph(
        f"g (float[N, 2, 4, 4] x) => (float[N, 2, 4, 4] y) {{ {WEIGHT} {STATISTICS}"
        f" c = {conv} y = {NORM}(c, scale, beta, mean, var) }}"
    )
    after = simplified(before)
    assert operators(after) == [conv.partition("(")[0]]
    same_numbers(before, after, x=image())


def test_batch_norm_is_folded_where_exporters_merged_equal_biases() -> None:
    before = graph(
        f"g (float[N, 2, 4, 4] x) => (float[N, 2, 4, 4] y) {{ {WEIGHT} {STATISTICS} v = Neg(w)"
        f" a = Conv(x, w, beta) b = {NORM}(a, scale, beta, mean, var)"
        f" c = Conv(b, v, beta) y = {NORM}(c, scale, beta, mean, var) }}"
    )
    after = simplified(before)
    assert operators(after) == ["Conv", "Conv"]
    same_numbers(before, after, x=image())


def test_a_free_axis_stays_as_it_was_declared() -> None:
    before = graph("g (float[N, 2] x) => (float[N, M] y) { i = Identity(x) y = Relu(i) }")
    assert OnnxModel(simplified(before)).signature == OnnxModel(before).signature


@pytest.mark.parametrize(
    "body",
    [
        "r = Relu(x) y = {norm}(r, scale, beta, mean, var)",  # no convolution before it
        "c = Conv(x, w) n = {norm}(c, scale, beta, mean, var) y = Add(c, n)",  # somebody else reads the convolution
        "a = Conv(x, w) c = Conv(a, w) y = {norm}(c, scale, beta, mean, var)",  # two convolutions share the weight
    ],
)
def test_batch_norm_stays_where_folding_would_be_wrong(body: str) -> None:
    before = graph(
        f"g (float[N, 2, 4, 4] x) => (float[N, 2, 4, 4] y) {{ {WEIGHT} {STATISTICS} " + body.format(norm=NORM) + " }"
    )
    after = simplified(before)
    assert "BatchNormalization" in operators(after)
    same_numbers(before, after, x=image())


def test_constants_become_initializers_and_their_arithmetic_is_done() -> None:
    before = graph("""g (float[N, 2] x) => (float[N, 2] y) {
        w = Constant<value = float[2, 2] {1, 2, 3, 4}>()
        two = Constant<value = float {2}>()
        doubled = Mul(w, two)
        turned = Transpose<perm = [1, 0]>(doubled)
        i = Identity(x) d = Dropout(i) m = MatMul(d, turned) y = Identity(m) }""")
    after = simplified(before)
    assert operators(after) == ["MatMul"]
    assert [list(w.dims) for w in after.graph.initializer] == [[2, 2]]
    same_numbers(before, after, x=image()[:, :, 0, 0])


def test_equal_initializers_are_merged_and_unused_ones_removed() -> None:
    before = graph("""g (float[N, 2] x) => (float[N, 2] y)
        <float[2] a = {1, 2}, float[2] b = {1, 2}, float[2] unused = {3, 4}> { s = Add(x, a) y = Mul(s, b) }""")
    after = simplified(before)
    assert len(after.graph.initializer) == 1
    same_numbers(before, after, x=image()[:, :, 0, 0])


def test_a_large_constant_is_not_written_out() -> None:
    before = graph("""g (float[N, 1] x) => (float[N, 1000000] y) {
        shape = Constant<value = int64[2] {1, 1000000}>() one = Constant<value = float[1] {1}>()
        wide = Expand(one, shape) y = Mul(x, wide) }""")
    after = simplified(before)
    assert after.ByteSize() < 2000
    same_numbers(before, after, x=image()[:, 0, 0, :1])


def test_a_large_weight_is_folded_where_it_replaces_one() -> None:
    weight = np.random.default_rng(0).normal(size=(300, 200)).astype(np.float32)
    before = graph("g (float[N, 300] x) => (float[N, 200] y) { t = Transpose(w) u = Transpose(t) y = MatMul(x, u) }")
    before.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    before.graph.node[1].CopyFrom(onnx.helper.make_node("Neg", ["t"], ["n"]))
    before.graph.node.insert(2, onnx.helper.make_node("Transpose", ["n"], ["u"]))
    after = simplified(before)
    assert operators(after) == ["MatMul"]
    assert after.ByteSize() < weight.nbytes * 1.01
    same_numbers(before, after, x=np.ones((2, 300), np.float32))


@pytest.mark.parametrize("sign", [1, -1])
def test_branches_keep_their_numbers(sign: int) -> None:
    before = graph("""g (float[N, 2] x) => (float[N, 2] y) {
        s = ReduceSum<keepdims = 0>(x) zero = Constant<value = float {0}>() c = Greater(s, zero)
        y = If(c) <
            then_branch = t () => (float[N, 2] a) {
                w = Constant<value = float[2] {1, 2}>() v = Add(w, w) a = Mul(x, v) },
            else_branch = e () => (float[N, 2] b) { i = Identity(x) b = Neg(i) }> }""")
    after = simplified(before)
    branches = [a.g for n in after.graph.node if n.op_type == "If" for a in n.attribute]
    assert sorted([n.op_type for n in branch.node] for branch in branches) == [["Mul"], ["Neg"]]
    same_numbers(before, after, x=np.full((3, 2), sign, np.float32))


def test_names_are_unique_and_shapes_known() -> None:
    before = graph("g (float[N, 2, 4, 4] x) => (float[N, 32] y) { r = Relu(x) s = Sigmoid(r) y = Flatten(s) }")
    twins = type(before).FromString(before.SerializeToString())
    for node in twins.graph.node:
        node.name = "same"
    after = simplified(twins)
    assert len({n.name for n in after.graph.node}) == 3
    assert {"r", "s"} <= {v.name for v in after.graph.value_info}
    same_numbers(before, after, x=image())


def test_an_old_opset_is_converted() -> None:
    before = graph(
        f"""g (float[N, 2, 4, 4] x) => (float[N, 2, 4, 4] y) {{ {WEIGHT} {STATISTICS}
        c = Conv(x, w) n = {NORM}(c, scale, beta, mean, var) y = Clip<min = 0.0, max = 6.0>(n) }}""",
        opset=9,
    )
    after = simplified(before)
    assert OnnxModel(after).opset == 13
    assert operators(after) == ["Conv", "Clip"]
    same_numbers(before, after, x=image())


def test_an_old_opset_that_cannot_be_converted_is_refused() -> None:
    before = graph("g (float[N, 2] x) => (float[N, 2] y) { y = NoSuch(x) }", opset=9)
    with pytest.raises(NotApplicable, match="opset 9 cannot be converted"):
        simplified(before)


def test_int8_weights_stay_int8() -> None:
    before = graph("""g (float[N, 2] x) => (float[N, 2] y)
        <int8[2, 2] q = {1, 2, 3, 4}, float s = {0.5}, int8 z = {0}> {
        w = DequantizeLinear(q, s, z) y = MatMul(x, w) }""")
    assert operators(simplified(before)) == ["DequantizeLinear", "MatMul"]


def test_the_input_is_not_touched_and_twice_is_once() -> None:
    before = graph(
        f"g (float[N, 2, 4, 4] x) => (float[N, 2, 4, 4] y) {{ {WEIGHT} {STATISTICS}"
        f" c = Conv(x, w) y = {NORM}(c, scale, beta, mean, var) }}"
    )
    bytes_before = before.SerializeToString(deterministic=True)
    once = simplified(before)
    assert before.SerializeToString(deterministic=True) == bytes_before
    assert operators(simplified(once)) == operators(once)


def test_a_folded_convolution_keeps_its_own_module() -> None:
    before = graph("""g (float[N, 2, 4, 4] x) => (float[N, 2, 4, 4] y)
        <float[2, 2, 1, 1] w = {1, 2, 3, 4}, float[2] s = {1, 2}> {
        c = Conv(x, w) y = BatchNormalization(c, s, s, s, s) }""")
    before.graph.node[0].name, before.graph.node[1].name = "stem", "norm"
    after = carry(before, simplified(label(before)))
    assert [module_of(n) for n in after.graph.node] == ["stem"]


def test_it_proposes_itself_only_where_it_helps() -> None:
    plain = graph("g (float[N, 2] x) => (float[N, 2] y) { y = Relu(x) }")
    padded = graph("g (float[N, 2] x) => (float[N, 2] y) { i = Identity(x) y = Relu(i) }")
    assert Simplify.variants(OnnxModel(plain)) == ()
    assert Simplify.variants(OnnxModel(padded)) == (Simplify(),)
