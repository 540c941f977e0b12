"""The door for data: everything that can be wrong with arrays and archives is a sentence, and nothing is converted."""

import io
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hasten import archive
from hasten.archive import array_name, file_name
from hasten.data import Data
from hasten.errors import InputError
from hasten.model import Signature, Tensor

X = np.arange(24, dtype=np.float32).reshape(6, 4)
Y = np.arange(6)
TAKES = Signature((Tensor("x", "float32", ("N", 4)),), (Tensor("y", "float32", ("N", 10)),))


def packed(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


def test_archive_and_folder_are_the_same(tmp_path: Path) -> None:
    data = Data.load(packed(tmp_path / "d.npz", x=X, target=Y, groups=Y // 2), tmp_path / "cache")
    again = data.save(tmp_path / "folder")
    for loaded in (data, again, Data.load(tmp_path / "folder")):
        assert set(loaded.inputs) == {"x"}
        assert loaded.digest() == Data({"x": X}, Y, Y // 2).digest()
        assert isinstance(loaded.inputs["x"].base, np.memmap)


def test_archive_is_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = packed(tmp_path / "d.npz", x=X)
    Data.load(path, tmp_path / "cache")
    monkeypatch.setattr(archive, "_unpack", lambda *_: pytest.fail("unpacked again"))
    assert len(Data.load(path, tmp_path / "cache")) == 6


def test_processes_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = packed(tmp_path / "d.npz", x=np.zeros((200, 1000), np.float32), target=np.arange(200))
    code = "import sys, pathlib as p, hasten; hasten.Data.load(sys.argv[1], p.Path(sys.argv[2]))"
    running = [subprocess.Popen([sys.executable, "-c", code, path, tmp_path / "cache"]) for _ in range(4)]
    assert [p.wait() for p in running] == [0] * 4
    assert len(list((tmp_path / "cache").iterdir())) == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20))
def test_any_name_becomes_a_file_of_its_folder_and_comes_back(name: str) -> None:
    assert "/" not in file_name(name)
    assert array_name(Path("somewhere") / file_name(name)) == name


def test_a_name_cannot_leave_its_folder(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as made:
        buffer = io.BytesIO()
        np.save(buffer, X)
        made.writestr("../../x.npy", buffer.getvalue())
        made.writestr("serving/in:0.npy", buffer.getvalue())
    data = Data.load(tmp_path / "d.npz", tmp_path / "deep" / "cache")
    assert set(data.inputs) == {"../../x", "serving/in:0"}
    assert {p.name for p in tmp_path.iterdir()} == {"d.npz", "deep"}


def bomb(path: Path) -> None:
    """1.2 GB of zeros in 1.2 MB."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made,
        made.open("x.npy", "w", force_zip64=True) as entry,
    ):
        np.lib.format.write_array_header_1_0(entry, {"descr": "<f4", "fortran_order": False, "shape": (300_000_000,)})
        for _ in range(1200):
            entry.write(bytes(1_000_000))


def pickled(path: Path) -> None:
    np.savez(path, x=np.array([{"a": 1}] * 6, dtype=object))


def cut(path: Path) -> None:
    packed(path, x=X)
    path.write_bytes(path.read_bytes()[:-40])


def flipped(path: Path) -> None:
    packed(path, x=X)
    content = bytearray(path.read_bytes())
    content[content.index(X.tobytes()) + 5] ^= 1
    path.write_bytes(content)


def lying(path: Path) -> None:
    """A header that claims a terabyte."""
    with zipfile.ZipFile(path, "w") as made:
        buffer = io.BytesIO()
        np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": (2**38,)})
        made.writestr("x.npy", buffer.getvalue() + bytes(100))


def stranger(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("readme.txt", "hello")


def disguised(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("x.npy", "hello, I am no array")


def single(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, X)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (pickled, "cannot be read"),
        (cut, "damaged"),
        (flipped, "damaged"),
        (bomb, "times its size"),
        (lying, "cannot be read"),
        (stranger, "is not an array"),
        (disguised, "is not an array"),
        (single, "single array"),
        (lambda p: p.write_bytes(b""), "not an .npz"),
        (lambda p: p.write_text("hello"), "not an .npz"),
        (lambda p: packed(p, x=X, target=Y[:5]), "different lengths"),
        (lambda p: packed(p, x=X[:0]), "empty"),
        (lambda p: packed(p, target=Y), "empty"),
        (lambda p: packed(p, x=np.float32(1)), "single number"),
        (lambda p: packed(p, x=np.array(["a"] * 6)), "not numbers"),
        (lambda p: packed(p, x=X, groups=X), "one whole number"),
    ],
)
def test_bad_archives(make, words: str, tmp_path: Path) -> None:
    make(tmp_path / "d.npz")
    with pytest.raises(InputError, match=words) as fault:
        Data.load(tmp_path / "d.npz", tmp_path / "cache")
    assert str(fault.value).startswith(f"{tmp_path / 'd.npz'}")
    assert fault.value.mend
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)


def test_more_than_the_disk_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive.shutil, "disk_usage", lambda _: SimpleNamespace(free=archive.RESERVE + 10))
    with pytest.raises(InputError, match="HASTEN_CACHE"):
        Data.load(packed(tmp_path / "d.npz", x=X), tmp_path / "cache")


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        Data.load(tmp_path / "nowhere.npz")
    with pytest.raises(InputError, match="empty"):
        Data.load(tmp_path)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (lambda: Data({"x": X.tolist()}), "numpy array"),
        (lambda: Data(X), "give a dict"),
        (lambda: Data({}), "empty"),
        (lambda: Data({"target": X}), "rename"),
        (lambda: Data({"x": X.astype(">f4")}), "byte order"),
        (lambda: Data({"x": X}, groups=np.zeros((6, 1), int)), "one whole number"),
    ],
)
def test_bad_arrays(data, words: str) -> None:
    with pytest.raises(InputError, match=words):
        data()


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"x": X.astype(np.float64)}, r"\.astype\(np\.float32\)"),
        ({"z": X}, "this model has"),
        ({"x": X[:, :3]}, "shape"),
        ({"x": X, "z": X}, "this model has"),
        ({"x": np.where(X == 9, np.nan, X)}, "sample 2"),
        ({"x": np.where(X == 9, np.inf, X)}, "sample 2"),
    ],
)
def test_what_a_model_cannot_take(inputs: dict[str, np.ndarray], words: str) -> None:
    with pytest.raises(InputError, match=words) as fault:
        Data(inputs).check(TAKES, "validate")
    assert fault.value.what.startswith("validate: ")


def test_nan_in_the_target() -> None:
    with pytest.raises(InputError, match="'target' has a value that is not finite in sample 0"):
        Data({"x": X}, np.full(6, np.nan)).check(TAKES, "test")


def test_an_input_called_target() -> None:
    signature = Signature((Tensor("target", "float32", ("N", 4)),), TAKES.outputs)
    with pytest.raises(InputError, match="rename that input"):
        Data({"x": X}).check(signature, "validate")


def test_a_fixed_batch_takes_any_number_of_samples() -> None:
    fixed = Signature((Tensor("x", "float32", (4, 4)),), (Tensor("y", "float32", (4, 10)),))
    assert len(Data({"x": X}).check(fixed, "validate")) == 6
    with pytest.raises(InputError, match="shape"):
        Data({"x": X[:, :2]}).check(fixed, "validate")


def test_batches_cover_all() -> None:
    assert [len(b["x"]) for b in Data({"x": X}).batches(4)] == [4, 2]
    assert np.array_equal(Data({"x": X}, Y, Y).take(np.array([5, 0])).inputs["x"], X[[5, 0]])
