"""A reader made from spec/bundle.md alone, with nothing but JSON, SHA-256 and bytes: what a C++ program has to do."""

import ast
import hashlib
import json
import struct
from pathlib import Path

import bundles
import pytest

VALUES = {"<f4": "f", "<i8": "q"}


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def array(path: Path) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Shape and values of an .npy file."""
    content = path.read_bytes()
    assert content[:8] == bytes.fromhex("934E554D50590100")
    (length,) = struct.unpack_from("<H", content, 8)
    header = ast.literal_eval(content[10 : 10 + length].decode())
    assert header["fortran_order"] is False
    body = content[10 + length :]
    kind = VALUES[header["descr"]]
    return header["shape"], struct.unpack(f"<{len(body) // struct.calcsize(kind)}{kind}", body)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("reader") / "bundle"
    bundles.make(
        folder, stages=[bundles.Stage.of(bundles.whole(folder.parent / "w.onnx", batch=3), bundles.engine())]
    ).close()
    return folder


def test_the_seal_and_the_digests(folder):
    raw = (folder / "bundle.json").read_bytes()
    data = json.loads(raw)
    assert raw.count(data["seal"].encode()) == 1
    assert digest(raw.replace(data["seal"].encode(), b"0" * 64)) == data["seal"]
    here = {p.relative_to(folder).as_posix(): digest(p.read_bytes()) for p in folder.rglob("*") if p.is_file()}
    del here["bundle.json"]
    assert here == data["files"]


def test_the_golden_cases(folder):
    data, golden = (json.loads((folder / name).read_text()) for name in ("bundle.json", "golden/cases.json"))
    assert len(golden["cases"]) >= 8
    (given,), (wanted,) = data["signature"]["inputs"], data["signature"]["outputs"]
    for case in golden["cases"]:
        assert array(folder / case["raw"][given["name"]]) == array(folder / case["prepared"][given["name"]])
        shape, values = array(folder / case["output"][wanted["name"]])
        assert list(shape) == wanted["shape"]
        rows = [values[i : i + shape[1]] for i in range(0, len(values), shape[1])]
        assert case["decision"] == [[row.index(max(row))] for row in rows]
        ranked = [sorted(row, reverse=True) for row in rows]
        assert case["margin"] == pytest.approx(min(r[0] - r[1] for r in ranked) / golden["tolerance"][wanted["name"]])
        assert case["margin"] >= 10
