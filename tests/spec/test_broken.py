"""Broken bundles: each is its own sentence, and none is run."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import bundles
import pytest
from bundles import forge

from hasten.bundle import Bundle
from hasten.errors import HastenError, InputError, MissingError
from hasten.find import engines
from hasten.prepare import Prepare

AGAIN = "copy the bundle again from where it was made"


@pytest.fixture(scope="session")
def good(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("good") / "bundle"
    bundles.make(folder).close()
    return folder


@pytest.fixture
def broken(good, tmp_path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(good, tmp_path / "b"))


def refusal(folder: Path, kind: type[HastenError] = InputError) -> str:
    """What loading says, without the folder's own path."""
    with pytest.raises(kind) as said:
        Bundle.load(folder, verify=False)
    return str(said.value).replace(str(folder), "B")


def edited(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def place(data: dict[str, Any], where: str) -> tuple[Any, Any]:
    """(container, last key) of a path such as `stages.0.when`."""
    *parents, last = (int(k) if k.isdigit() else k for k in where.split("."))
    for key in parents:
        data = data[key]
    return data, last


def put(where: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def edit(data: dict[str, Any]) -> None:
        container, key = place(data, where)
        container[key] = value

    return edit


def drop(where: str) -> Callable[[dict[str, Any]], None]:
    def edit(data: dict[str, Any]) -> None:
        container, key = place(data, where)
        del container[key]

    return edit


def rename(data: dict[str, Any], name: str) -> None:
    data["files"][name] = data["files"].pop("report.html")


PATH = (
    "is not a path inside the bundle (letters, digits, '.', '_', '-', parts with '/' between them, "
    f"none of which begins with '.'); {AGAIN}"
)
SEALED = [  # edits of bundle.json that were sealed again: what stands there is refused for itself
    (put("format", 2), "B/bundle.json has format 2, this version reads 1; pip install --upgrade hasten"),
    (put("format", "1"), "B/bundle.json has no format number; give a folder that hasten boost has made"),
    (put("format", True), "B/bundle.json has no format number; give a folder that hasten boost has made"),
    (put("format", 0), "B/bundle.json has no format number; give a folder that hasten boost has made"),
    (drop("recipe"), f"B/bundle.json: the whole: 'recipe' is a required property; {AGAIN}"),
    (
        put("author", "me"),
        f"B/bundle.json: the whole: Additional properties are not allowed ('author' was unexpected); {AGAIN}",
    ),
    (put("stages", []), f"B/bundle.json: stages: [] should be non-empty; {AGAIN}"),
    (
        put("stages.0.when", "sometimes"),
        f"B/bundle.json: stages[0].when: 'sometimes' is not one of ['always', 'frame', 'window', 'unless']; {AGAIN}",
    ),
    (put("stages.0.when", "unless"), f"B/bundle.json: stages[0].unless: None is not of type 'object'; {AGAIN}"),
    (
        put("stages.0.engine.settings.threads", 2.0),
        f"B/bundle.json: stages[0].engine.settings.threads: 2.0 is not of type 'integer'; {AGAIN}",
    ),
    (
        put("stages.0.engine.settings.threads", 10**6),
        f"B/bundle.json: stages[0].engine.settings.threads: 1000000 is greater than the maximum of 4096; {AGAIN}",
    ),
    (put("signature.inputs.0.dtype", "object"), "B/bundle.json: signature.inputs[0].dtype: 'object' is not one of "),
    (put("signature.inputs.0.shape", [-1, 6]), "B/bundle.json: signature.inputs[0].shape[0]: -1 "),
    (put("pipeline.answer.kind", "poem"), "B/bundle.json: pipeline.answer.kind: 'poem' is not one of "),
    (
        put("pipeline.answer.top_k", 0),
        f"B/bundle.json: pipeline.answer.top_k: 0 is less than the minimum of 1; {AGAIN}",
    ),
    (put("stages.0.file", "/etc/passwd"), f"B/bundle.json: stages[0].file: '/etc/passwd' {PATH}"),
    (put("stages.0.file", "../model.onnx"), f"B/bundle.json: stages[0].file: '../model.onnx' {PATH}"),
    (put("stages.0.file", "a/../../model.onnx"), f"B/bundle.json: stages[0].file: 'a/../../model.onnx' {PATH}"),
    (put("stages.0.file", "a\\b.onnx"), f"B/bundle.json: stages[0].file: 'a\\\\b.onnx' {PATH}"),
    (put("stages.0.file", "model.onnx\n"), f"B/bundle.json: stages[0].file: 'model.onnx\\n' {PATH}"),
    (lambda d: rename(d, "../report.html"), f"B/bundle.json: files: '../report.html' {PATH}"),
    (
        put("stages.0.file", "other.onnx"),
        f"stage 'model' names other.onnx, which is no file of the bundle; {AGAIN}",
    ),
    (
        put("stages.0.signature.inputs.0.name", "y"),
        f"stage 'model' takes y float32 [N, 6], which nothing before it gives; {AGAIN}",
    ),
    (put("signature.outputs.0.name", "scores"), f"no stage gives the output scores float32 [N, 3]; {AGAIN}"),
    (put("signature.outputs.0.dtype", "float64"), f"no stage gives the output logits float64 [N, 3]; {AGAIN}"),
    (
        put("stages.0.engine", {"name": "openvino", "settings": {"threads": 1, "hint": "int4"}}),
        "the engine openvino has no setting hint='int4'; pip install --upgrade hasten, or make the bundle again",
    ),
    (
        put("stages.0.engine", {"name": "openvino", "settings": {"threads": 1, "transforms": 1}}),
        "the engine openvino has no setting transforms=1; pip install --upgrade hasten, or make the bundle again",
    ),
    (
        put("stages.0.engine.settings.turbo", True),
        "the engine onnxruntime has no setting turbo=True; pip install --upgrade hasten, or make the bundle again",
    ),
    (
        put("stages.0.engine.name", "torch"),
        "the engine torch does not run ONNX files; make the bundle again with hasten boost",
    ),
    (
        put("stages.0.when", "frame"),
        f"stage 'model' runs by 'frame', and the pipeline has no window; {AGAIN}",
    ),
    (
        put("pipeline.window", {"seconds": 2, "fps": 15, "stride_s": 0.5, "max_gap_s": 0.5, "padding": "wait"}),
        "the window has 30 frames, and the inputs are x float32 [N, 6]; an input with a time axis is [N, frames, ...]",
    ),
    (
        put("pipeline.answer.kind", "boxes"),
        "the pipeline answers with boxes, but the outputs are logits float32 [N, 3]; "
        "scores [N, boxes, classes] have to come first, then boxes [N, boxes, 4]",
    ),
    (
        put("pipeline.answer.labels", ["a"]),
        "the pipeline has 1 labels, and the first output is logits float32 [N, 3]; give one label for each class",
    ),
]


@pytest.mark.parametrize(("edit", "sentence"), SEALED, ids=[s[14:70] for _, s in SEALED])
def test_a_forged_bundle_json(broken, edit, sentence):
    forge(broken, edit, digests=False)
    assert refusal(broken).startswith(sentence)


MISSING = [
    (
        put("stages.0.engine.name", "abacus"),
        "the bundle runs on the engine 'abacus', which this version of hasten does not have; "
        "pip install --upgrade hasten, or the package that adds the engine",
    ),
]


@pytest.mark.parametrize(("edit", "sentence"), MISSING, ids=["engine"])
def test_what_this_installation_cannot_honour(broken, edit, sentence):
    forge(broken, edit)
    assert refusal(broken, MissingError) == sentence


def test_an_image_where_there_is_no_native_code(broken, monkeypatch):
    monkeypatch.setitem(sys.modules, "hasten._core", None)
    how = asdict(Prepare("image", size=(224, 224), fit="letterbox", fill=114, mean=(127.0,), std=(128.0,)))
    for place in ("signature", "stages.0.signature"):
        forge(broken, put(f"{place}.inputs.0.shape", ["N", 3, 224, 224]))
    forge(broken, put("pipeline.inputs.x", how))
    assert refusal(broken, MissingError).startswith("the image 'x' needs hasten's native code, which this installation")


def test_an_engine_that_is_not_installed(broken, monkeypatch):
    kind = engines()["onnxruntime"]
    monkeypatch.setattr(kind, "missing", classmethod(lambda _: "pip install hasten[onnxruntime]"))
    assert refusal(broken, MissingError) == "the engine onnxruntime cannot run here; pip install hasten[onnxruntime]"


TEXTS = [  # bundle.json as bytes that no sealing helps
    ('{"format": 1, "format": 1}', "(a key stands twice)"),
    ('{"format": NaN}', "(a number is not finite, or too large)"),
    ('{"format": -Infinity}', "(a number is not finite, or too large)"),
    ('{"format": 1e999}', "(a number is not finite, or too large)"),
    ('{"format": 9007199254740993}', "(a number is not finite, or too large)"),
    (f'{{"format": {"9" * 5000}}}', "(Exceeds the limit (4300 digits) for integer string conversion"),
    ('{"format": 1', "(Expecting ',' delimiter"),
    ("[" * 200_000, "(maximum recursion depth exceeded"),
    ("", "(Expecting value"),
]


@pytest.mark.parametrize(("text", "why"), TEXTS, ids=[t[1][1:30] for t in TEXTS])
def test_text_that_is_not_strict_json(broken, text, why):
    (broken / "bundle.json").write_text(text)
    assert refusal(broken).startswith(f"B/bundle.json is not strict JSON {why}")


def test_text_that_is_not_utf8(broken):
    (broken / "bundle.json").write_bytes(b'{"recipe": "\xff"}')
    assert refusal(broken).startswith("B/bundle.json is not strict JSON ('utf-8' codec can't decode")


def test_json_that_is_too_large(broken):
    with (broken / "bundle.json").open("a") as file:
        file.truncate((4 << 20) + 1)
    assert refusal(broken) == f"B/bundle.json is larger than 4 MiB; {AGAIN}"


def test_golden_json_that_is_too_large(broken):
    with (broken / "golden/cases.json").open("a") as file:
        file.truncate((4 << 20) + 1)
    forge(broken)
    assert refusal(broken) == f"B/golden/cases.json is larger than 4 MiB; {AGAIN}"


def test_no_bundle_at_all(tmp_path):
    assert refusal(tmp_path / "b") == "B is not a folder; give the folder of a bundle"
    (tmp_path / "b").mkdir()
    assert (
        refusal(tmp_path / "b") == "B is not a bundle: it has no bundle.json; give a folder that hasten boost has made"
    )


def test_a_missing_file(broken):
    (broken / "golden/003/raw.x.npy").unlink()
    assert refusal(broken) == f"B lacks golden/003/raw.x.npy; {AGAIN}"


def test_an_extra_file(broken):
    (broken / "golden/notes.txt").write_text("hello")
    assert refusal(broken) == "B holds golden/notes.txt, which bundle.json does not list; remove it"


def test_a_symbolic_link_to_a_file(broken, good):
    (broken / "model.onnx").unlink()
    (broken / "model.onnx").symlink_to(good / "model.onnx")
    assert refusal(broken) == "B/model.onnx is a symbolic link; copy the bundle with the files themselves (cp -rL)"


def test_a_symbolic_link_to_a_folder(broken, good):
    shutil.rmtree(broken / "golden")
    (broken / "golden").symlink_to(good / "golden")
    assert refusal(broken) == "B/golden is a symbolic link; copy the bundle with the files themselves (cp -rL)"


def test_bundle_json_as_a_link(broken, good):
    (broken / "bundle.json").unlink()
    (broken / "bundle.json").symlink_to(good / "bundle.json")
    assert refusal(broken) == f"B/bundle.json is a link or not a file; {AGAIN}"


def test_a_pipe(broken):
    os.mkfifo(broken / "golden/pipe")
    assert refusal(broken) == "B/golden/pipe is neither a file nor a folder; remove it"


def test_the_folder_itself_may_be_a_link(good, tmp_path):
    (tmp_path / "current").symlink_to(good)
    Bundle.load(tmp_path / "current").close()


def files_of_a_bundle() -> list[str]:
    cases = [f"golden/{i:03d}/{n}.npy" for i in range(8) for n in ("raw.x", "prepared.x", "output.logits")]
    return ["bundle.json", "model.onnx", "report.html", "golden/cases.json", *cases]


def test_the_list_of_files_is_whole(good):
    assert sorted(files_of_a_bundle()) == sorted(p.relative_to(good).as_posix() for p in good.rglob("*") if p.is_file())


@pytest.mark.parametrize("name", files_of_a_bundle())
def test_a_changed_byte(broken, name):
    """Wherever it is: at both ends and in the middle of every file."""
    path = broken / name
    whole = path.read_bytes()
    for at in (0, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        said = refusal(broken)
        assert said.startswith(f"B/{name}")
        if name != "bundle.json":
            assert said == f"B/{name} was changed after the bundle was made; {AGAIN}"


@pytest.mark.parametrize(
    ("old", "new"), [("simplify", "simplifz"), ("a CPU", "my CPU"), ('"threads": 1', '"threads": 2'), ("\n", " ")]
)
def test_a_changed_bundle_json(broken, old, new):
    """What still fits the schema is caught by the seal."""
    edited(broken / "bundle.json", old, new)
    assert refusal(broken) == f"B/bundle.json was changed after the bundle was made; {AGAIN}"


def test_no_seal(broken):
    seal = json.loads((broken / "bundle.json").read_text())["seal"]
    edited(broken / "bundle.json", seal, "none")
    assert refusal(broken).startswith("B/bundle.json: seal: 'none' does not match ")


def test_a_forged_digest(broken):
    def edit(data: dict[str, Any]) -> None:
        data["files"]["model.onnx"] = "0" * 63 + "1"

    forge(broken, edit)
    assert refusal(broken) == f"B/model.onnx was changed after the bundle was made; {AGAIN}"


GOLDEN = [
    (put("cases", []), f"B/golden/cases.json: cases: [] is too short; {AGAIN}"),
    (
        put("cases.2.raw.x", "golden/../../secret.npy"),
        "B/golden/cases.json: cases[2].raw.x: 'golden/../../secret.npy' is not a path golden/<case>/<file>.npy; "
        f"{AGAIN}",
    ),
    (
        put("cases.2.raw.x", "golden/002/other.npy"),
        f"B/golden/cases.json: case 002 names golden/002/other.npy, which is no file of the bundle; {AGAIN}",
    ),
    (
        put("cases.2.output", {}),
        f"B/golden/cases.json: case 002 has other output arrays than ['logits']; {AGAIN}",
    ),
    (put("tolerance", {}), f"B/golden/cases.json: tolerances are not those of ['logits']; {AGAIN}"),
    (put("tolerance.logits", -1), f"B/golden/cases.json: tolerance.logits: -1 is less than the minimum of 0; {AGAIN}"),
    (
        put("tolerance.logits", "wide"),
        f"B/golden/cases.json: tolerance.logits: 'wide' is not of type 'number'; {AGAIN}",
    ),
    (
        put("cases.0.margin", 5.0),
        f"B/golden/cases.json: cases[0].margin: 5.0 is less than the minimum of 10; {AGAIN}",
    ),
    (
        put("cases.1.note", ""),
        f"B/golden/cases.json: cases[1]: Additional properties are not allowed ('note' was unexpected); {AGAIN}",
    ),
]


@pytest.mark.parametrize(("edit", "sentence"), GOLDEN, ids=[s[20:60] for _, s in GOLDEN])
def test_forged_golden_cases(broken, edit, sentence):
    path = broken / "golden/cases.json"
    data = json.loads(path.read_text())
    edit(data)
    path.write_text(json.dumps(data))
    forge(broken)
    assert refusal(broken) == sentence
