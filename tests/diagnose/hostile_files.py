"""Every way we know of in which a file that calls itself a model is hostile, and words that its refusal must hold."""

import gzip
import io
import os
import pickle
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper
from onnx.helper import (
    make_function,
    make_graph,
    make_model,
    make_node,
    make_opsetid,
    make_tensor,
    make_tensor_value_info,
)

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
Writer = Callable[[Path], Path]
CATALOGUE: dict[str, tuple[Writer, str]] = {}


def value(name: str, shape=(1, 4), kind: int = FLOAT):
    return make_tensor_value_info(name, kind, shape)


def const(name: str, array: np.ndarray) -> TensorProto:
    return numpy_helper.from_array(np.asarray(array), name)


def model(
    nodes: list[NodeProto],
    weights: Sequence[TensorProto] = (),
    functions=(),
    inputs=None,
    outputs=None,
    opset: int = 17,
    ir: int = 9,
) -> ModelProto:
    graph = make_graph(nodes, "g", inputs or [value("x")], outputs or [value("y")], weights)
    domains = {f.domain for f in functions}
    return make_model(
        graph,
        functions=functions,
        ir_version=ir,
        opset_imports=[make_opsetid("", opset), *(make_opsetid(d, 1) for d in domains)],
    )


def good() -> ModelProto:
    return model([make_node("Mul", ["x", "w"], ["y"])], [const("w", np.arange(4, dtype=np.float32))])


def trees(yes=(1, 0, 0), no=(2, 0, 0), modes=("BRANCH_LEQ", "LEAF", "LEAF")) -> ModelProto:
    """One tree of three nodes."""
    node = make_node(
        "TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1, nodes_treeids=[0, 0, 0],
        nodes_nodeids=[0, 1, 2], nodes_featureids=[0, 0, 0], nodes_values=[0.5, 0.0, 0.0], nodes_modes=list(modes),
        nodes_truenodeids=list(yes), nodes_falsenodeids=list(no), target_treeids=[0, 0], target_nodeids=[1, 2],
        target_ids=[0, 0], target_weights=[1.0, 2.0],
    )  # fmt: skip
    made = model([node], outputs=[value("y", (1, 1))])
    made.opset_import[0].CopyFrom(make_opsetid("ai.onnx.ml", 3))
    return made


def graph_of(words: str):
    """Register a function that gives a proto."""

    def register(make: Callable[[], ModelProto]):
        def write(folder: Path) -> Path:
            path = folder / "model.onnx"
            path.write_bytes(make().SerializeToString())
            return path

        CATALOGUE[make.__name__] = write, words
        return make

    return register


def bytes_of(words: str):
    """Register a function that gives the bytes of the file."""

    def register(make: Callable[[], bytes]):
        def write(folder: Path) -> Path:
            path = folder / "model.onnx"
            path.write_bytes(make())
            return path

        CATALOGUE[make.__name__] = write, words
        return make

    return register


def place(words: str):
    """Register a function that writes into a folder and gives the path."""

    def register(write: Writer):
        CATALOGUE[write.__name__] = write, words
        return write

    return register


# ---- files that are no models


@bytes_of("is empty")
def empty():
    return b""


@bytes_of("JPEG")
def jpeg():
    return b"\xff\xd8\xff\xe0\x00\x10JFIF" + os.urandom(500)


@bytes_of("a pickle")
def pickled():
    return pickle.dumps({"weights": list(range(100))})


@bytes_of("a gzip")
def gzipped():
    return gzip.compress(good().SerializeToString())


@bytes_of("not an ONNX file")
def text():
    return b"import torch\nprint('hello')\n" * 20


@bytes_of("not an ONNX file")
def noise():
    return b"\xff" * 1000


@bytes_of("a zip archive")
def zipped():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("data.pkl", b"x")
    return buffer.getvalue()


@bytes_of("cut off")
def truncated():
    return good().SerializeToString()[:-12]


@bytes_of("holds no graph")
def headless():
    return ModelProto(ir_version=9).SerializeToString()


@bytes_of("does not parse")
def damaged():
    content = bytearray(good().SerializeToString())
    at = content.index(b"Mul")
    content[at - 1] = 0x7F  # the length of a text inside: longer than the graph
    return bytes(content)


@bytes_of("outermost fields")
def million_fields():
    return b"\x08\x09" * 1_000_000 + good().SerializeToString()


@place("is a folder")
def folder_itself(folder):
    return folder


@place("does not exist")
def missing(folder):
    return folder / "nowhere.onnx"


@place("not a regular file")
def pipe(folder):
    os.mkfifo(folder / "model.onnx")
    return folder / "model.onnx"


@place("not an ONNX file")
def sparse_terabyte(folder):
    with (folder / "model.onnx").open("wb") as file:
        file.truncate(10**12)
    return folder / "model.onnx"


@place("MB is the most")
def sparse_graph(folder):
    """A graph field of 3 GB of nothing."""
    with (folder / "model.onnx").open("wb") as file:
        file.write(b"\x08\x09\x3a\x80\xbc\xc1\x96\x0b")
        file.truncate(8 + 3_000_000_000)
    return folder / "model.onnx"


# ---- graphs


@graph_of("cycle through")
def cyclic():
    return model(
        [make_node("Add", ["x", "b"], ["a"]), make_node("Relu", ["a"], ["b"]), make_node("Relu", ["b"], ["y"])]
    )


@graph_of("before it is made")
def unsorted():
    return model([make_node("Relu", ["a"], ["y"]), make_node("Relu", ["x"], ["a"])])


@graph_of("nothing makes")
def from_nowhere():
    return model([make_node("Add", ["x", "ghost"], ["y"])])


@graph_of("twice")
def made_twice():
    return model([make_node("Relu", ["x"], ["y"]), make_node("Neg", ["x"], ["y"])])


@graph_of("no node makes")
def promised():
    return model([make_node("Relu", ["x"], ["z"])])


@graph_of("two weights called")
def duplicate_weights():
    return model([make_node("Mul", ["x", "w"], ["y"])], [const("w", np.ones(4, np.float32))] * 2)


@graph_of("has opset 999")
def opset_999():
    made = good()
    made.opset_import[0].version = 999
    return made


@graph_of("has opset 0")
def opset_0():
    made = good()
    made.opset_import[0].version = 0
    return made


@graph_of("which opset")
def no_opset():
    made = good()
    del made.opset_import[:]
    return made


@graph_of("IR version 99")
def ir_99():
    return model(list(good().graph.node), list(good().graph.initializer), ir=99)


@graph_of("imports the same operator set twice")
def two_opsets():
    made = good()
    made.opset_import.append(make_opsetid("", 16))
    return made


@graph_of("holds trees that are none")
def tree_that_comes_back():
    return trees(no=[0, 0, 0])


@graph_of("holds trees that are none")
def tree_that_leads_nowhere():
    return trees(no=[7, 0, 0])


@graph_of("holds trees that are none")
def tree_without_a_root():
    return trees(yes=[1, 2, 1], modes=["BRANCH_LEQ"] * 2 + ["LEAF"])


@graph_of("no operator of opset")
def unknown_operator():
    return model([make_node("Explode", ["x"], ["y"])])


@graph_of("unknown domain")
def unknown_domain():
    made = model([make_node("Relu", ["x"], ["y"], domain="evil.corp")])
    made.opset_import.append(make_opsetid("evil.corp", 1))
    return made


@graph_of("has no inputs")
def no_inputs():
    made = model([make_node("Relu", ["w"], ["y"])], [const("w", np.ones((1, 4), np.float32))])
    del made.graph.input[:]
    return made


@graph_of("has no outputs")
def no_outputs():
    made = good()
    del made.graph.output[:]
    return made


@graph_of("not a tensor of numbers")
def text_input():
    return model(
        [make_node("Identity", ["x"], ["y"])],
        inputs=[value("x", kind=TensorProto.STRING)],
        outputs=[value("y", kind=TensorProto.STRING)],
    )


@graph_of("2^31 elements")
def overflowing_input():
    return model([make_node("Relu", ["x"], ["y"])], inputs=[value("x", (2**32, 2**32))], outputs=[value("y", None)])


@graph_of("not positive")
def negative_axis():
    return model([make_node("Relu", ["x"], ["y"])], inputs=[value("x", (-5, 4))], outputs=[value("y", None)])


@graph_of("sparsely")
def sparse_weight():
    made = model([make_node("Mul", ["x", "w"], ["y"])])
    made.graph.sparse_initializer.add(
        values=make_tensor("w", FLOAT, [1], [1.0]), indices=make_tensor("i", INT64, [1], [3]), dims=[10**12]
    )
    return made


@graph_of("nodes")
def long_chain():
    nodes = [make_node("Add", [f"t{i}" if i else "x", "one"], [f"t{i + 1}"]) for i in range(50_000)]
    return model(nodes, [const("one", np.ones(1, np.float32))], outputs=[value("t50000")])


@graph_of("elementwise nodes in a row")
def elementwise_chain():
    nodes = [
        make_node(("Relu", "Sigmoid", "Tanh", "Exp", "Neg")[i % 5], [f"t{i}" if i else "x"], [f"t{i + 1}"])
        for i in range(3000)
    ]
    return model(nodes, outputs=[value("t3000")])


@graph_of("nested 24 deep")
def nested_ifs():
    def branch(depth: int) -> GraphProto:
        out = [value(f"y{depth}")]
        if depth == 24:
            return make_graph([make_node("Neg", ["x"], [f"y{depth}"])], "leaf", [], out)
        other = make_graph([make_node("Identity", ["x"], [f"e{depth}"])], "other", [], [value(f"e{depth}")])
        return make_graph(
            [make_node("If", ["c"], [f"y{depth}"], then_branch=branch(depth + 1), else_branch=other)], "b", [], out
        )

    top = branch(0)
    return model(list(top.node), inputs=[value("x"), value("c", (1,), BOOL)], outputs=[value("y0")])


def loop(
    count: TensorProto | None, cond: str = "go", extra: Sequence[NodeProto] = (), inside: list[NodeProto] | None = None
) -> ModelProto:
    body = make_graph(
        [make_node("Identity", ["go"], ["go_on"]), *(inside or [make_node("Relu", ["v"], ["w"])])],
        "body",
        [value("i", (), INT64), value("go", (), BOOL), value("v")],
        [value("go_on", (), BOOL), value("w")],
    )
    weights = [const("true", np.asarray(True))] + ([count] if count is not None else [])
    return model(
        [*extra, make_node("Loop", ["count" if count is not None or extra else "", "true", "x"], ["y"], body=body)],
        weights,
    )


@graph_of("times in loops")
def loop_of_2_to_the_60():
    return loop(const("count", np.asarray(2**60)))


@graph_of("times in loops")
def endless_loop():
    return loop(None)


@graph_of("times in loops")
def loop_in_loop():
    inner = loop(const("count2", np.asarray(10_000)))
    node = inner.graph.node[-1]
    body = GraphProto()
    body.CopyFrom(node.attribute[0].g)
    for names in (body.input, body.output, body.node):
        for thing in names:
            if isinstance(thing, NodeProto):
                thing.input[:], thing.output[:] = [n + "_" for n in thing.input], [n + "_" for n in thing.output]
            else:
                thing.name += "_"
    made = loop(
        const("count", np.asarray(10_000)), inside=[make_node("Loop", ["count2", "true", "v"], ["w"], body=body)]
    )
    made.graph.initializer.append(const("count2", np.asarray(10_000)))
    return made


@graph_of("took longer")
def computed_loop():
    """2^60 is computed when it runs, out of an input: only running tells."""
    extra = [
        make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        make_node("Cast", ["sum"], ["zero"], to=INT64),
        make_node("Add", ["zero", "big"], ["count"]),
    ]
    made = loop(None, extra=extra)
    made.graph.initializer.append(const("big", np.asarray(2**60)))
    return made


def function(name: str, nodes: list[NodeProto]):
    return make_function("local", name, ["a"], ["b"], nodes, [make_opsetid("", 17), make_opsetid("local", 1)])


@graph_of("calls itself")
def recursion():
    return model(
        [make_node("F", ["x"], ["y"], domain="local")],
        functions=[function("F", [make_node("F", ["a"], ["b"], domain="local")])],
    )


@graph_of("nodes")
def billion_laughs():
    functions = [function("F0", [make_node("Relu", ["a"], ["b"])])]
    for i in range(30):
        functions.append(
            function(
                f"F{i + 1}",
                [make_node(f"F{i}", ["a"], ["m"], domain="local"), make_node(f"F{i}", ["m"], ["b"], domain="local")],
            )
        )
    return model([make_node("F30", ["x"], ["y"], domain="local")], functions=functions)


# ---- tensors


@graph_of("elements")
def constant_of_shape_bomb():
    return model(
        [
            make_node("ConstantOfShape", ["shape"], ["big"]),
            make_node("ReduceMax", ["big"], ["m"], keepdims=0),
            make_node("Add", ["x", "m"], ["y"]),
        ],
        [const("shape", np.asarray([2**31, 4]))],
    )


@graph_of("elements")
def expand_bomb():
    return model(
        [make_node("Expand", ["x", "shape"], ["big"]), make_node("ReduceMax", ["big"], ["y"], keepdims=0)],
        [const("shape", np.asarray([10**6, 10**6, 4]))],
        outputs=[value("y", ())],
    )


@graph_of("elements")
def tile_bomb():
    return model(
        [make_node("Tile", ["x", "repeats"], ["big"]), make_node("ReduceMax", ["big"], ["y"], keepdims=0)],
        [const("repeats", np.asarray([10**9, 10]))],
        outputs=[value("y", ())],
    )


def _grown(doublings: int) -> ModelProto:
    """The size of a tensor computed out of the input when it runs."""
    nodes = [
        make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        make_node("Cast", ["sum"], ["zero"], to=INT64),
        make_node("Add", ["zero", "size"], ["shape"]),
        make_node("ConstantOfShape", ["shape"], ["big"]),
        make_node("Relu", ["big"], ["big2"]),
        make_node("ReduceMax", ["big2"], ["m"], keepdims=0),
        make_node("Add", ["x", "m"], ["y"]),
    ]
    return model(nodes, [const("size", np.asarray([2**doublings]))])


@graph_of("used more than")
def memory_when_it_runs():
    return _grown(31)


@graph_of("too much memory")
def terabytes_when_it_runs():
    return _grown(45)


@graph_of("bytes are there")
def overflowing_weight():
    made = good()
    made.graph.initializer[0].dims[:] = [2**33, 2**33]
    return made


@graph_of("bytes are there")
def short_weight():
    made = good()
    made.graph.initializer[0].dims[:] = [5]
    return made


@graph_of("with the shape [-4]")
def negative_weight():
    made = good()
    made.graph.initializer[0].dims[:] = [-4]
    return made


@graph_of("unknown type 77")
def unknown_type():
    made = good()
    made.graph.initializer[0].data_type = 77
    return made


@graph_of("NaN")
def nan_weight():
    return model([make_node("Mul", ["x", "w"], ["y"])], [const("w", np.asarray([1, 2, np.nan, 4], np.float32))])


@graph_of("infinite")
def infinite_weight():
    return model(
        [make_node("Mul", ["x", "w"], ["y"])],
        [const("w", np.asarray([1, 2, np.inf, 4], np.float16).astype(np.float32))],
    )


@graph_of("NaN")
def nan_constant_in_a_branch():
    def branch(name: str, number: float) -> GraphProto:
        return make_graph(
            [make_node("Constant", [], [name], value=const("c", np.full((1, 4), number, np.float32)))],
            name,
            [],
            [value(name)],
        )

    return model(
        [make_node("If", ["c"], ["y"], then_branch=branch("a", 1.0), else_branch=branch("b", np.nan))],
        inputs=[value("x"), value("c", (1,), BOOL)],
    )


@graph_of("texts")
def many_texts():
    made = model([make_node("Relu", ["x"], ["y"])])
    made.graph.initializer.append(
        TensorProto(name="s", data_type=TensorProto.STRING, dims=[1_500_000], string_data=[b""] * 1_500_000)
    )
    return made


@graph_of("texts")
def claimed_texts():
    made = model([make_node("Relu", ["x"], ["y"])])
    made.graph.initializer.append(
        TensorProto(name="s", data_type=TensorProto.STRING, dims=[10**12], string_data=[b"a"])
    )
    return made


# ---- external data


def outside(location: str, offset: str | None = None, length: str | None = None) -> ModelProto:
    made = good()
    weight = made.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, said in {"location": location, "offset": offset, "length": length}.items():
        if said is not None:
            weight.external_data.add(key=key, value=said)
    return made


def saved(folder: Path, made: ModelProto) -> Path:
    inner = folder / "inner"
    inner.mkdir()
    (folder / "secret.bin").write_bytes(bytes(16))
    (inner / "weights.bin").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    (inner / "model.onnx").write_bytes(made.SerializeToString())
    return inner / "model.onnx"


@place("which is missing")
def external_missing(folder):
    return saved(folder, outside("gone.bin"))


@place("outside its own folder")
def external_above(folder):
    return saved(folder, outside("../secret.bin"))


@place("outside its own folder")
def external_absolute(folder):
    return saved(folder, outside("/etc/passwd", "0", "16"))


@place("outside its own folder")
def external_nowhere(folder):
    return saved(folder, outside(""))


@place("outside its own folder")
def external_link(folder):
    path = saved(folder, outside("link.bin"))
    (path.parent / "link.bin").symlink_to(folder / "secret.bin")
    return path


@place("that file has 16 bytes")
def external_beyond(folder):
    return saved(folder, outside("weights.bin", "8", "16"))


@place("that file has 16 bytes")
def external_negative(folder):
    return saved(folder, outside("weights.bin", "-4", "16"))


@place("not a number")
def external_words(folder):
    return saved(folder, outside("weights.bin", "ten"))


@place("bytes are there")
def external_short(folder):
    return saved(folder, outside("weights.bin", "0", "8"))


@place("MB of external data")
def external_sparse(folder):
    path = saved(folder, outside("weights.bin", "0", "16"))
    with (path.parent / "weights.bin").open("r+b") as file:
        file.truncate(10**12)
    return path


@place("outside its own folder")
def external_in_a_constant(folder):
    made = model([make_node("Relu", ["x"], ["y"])])
    node = make_node("Constant", [], ["c"])
    node.attribute.append(
        AttributeProto(name="value", type=AttributeProto.TENSOR, t=outside("../secret.bin").graph.initializer[0])
    )
    made.graph.node.append(node)
    return saved(folder, made)


def real_models() -> dict[str, ModelProto]:
    """What the gate must let through."""
    rng = np.random.default_rng(0)
    lstm = model(
        [make_node("LSTM", ["x", "w", "r"], ["", "y"], hidden_size=8)],
        [
            const("w", rng.normal(size=(1, 32, 4)).astype(np.float32)),
            const("r", rng.normal(size=(1, 32, 8)).astype(np.float32)),
        ],
        inputs=[value("x", ("T", "N", 4))],
        outputs=[value("y", (1, "N", 8))],
    )
    lowest = np.asarray([[0, np.finfo(np.float32).min, 0, 0]], np.float32)
    masks = model(
        [make_node("Add", ["x", "mask"], ["a"]), make_node("Add", ["a", "inf"], ["y"])],
        [const("mask", lowest), const("inf", np.asarray([[0, 0, -np.inf, 0]], np.float32))],
    )

    def branch(op: str) -> GraphProto:
        return make_graph([make_node(op, ["x"], [f"y_{op}"])], op, [], [value(f"y_{op}")])

    choice = model(
        [make_node("If", ["c"], ["y"], then_branch=branch("Neg"), else_branch=branch("Relu"))],
        inputs=[value("x"), value("c", (1,), BOOL)],
    )
    helped = model(
        [make_node("F", ["x"], ["y"], domain="local")], functions=[function("F", [make_node("Relu", ["a"], ["b"])])]
    )
    return {
        "good": good(),
        "lstm": lstm,
        "masks": masks,
        "choice": choice,
        "function": helped,
        "loop": loop(const("count", np.asarray(100))),
        "half": _half(),
        "trees": trees(),
    }


def _half() -> ModelProto:
    return model(
        [make_node("Cast", ["w"], ["c"], to=FLOAT), make_node("Mul", ["x", "c"], ["y"])],
        [onnx.helper.make_tensor("w", TensorProto.BFLOAT16, [4], [1.0, 2.0, 3.0, 4.0])],
    )
