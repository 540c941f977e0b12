"""What a job reads: ids that are there once, in an order of their own, and reasons for what cannot be read."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hasten.bundle import Bundle
from hasten.errors import InputError, UsageError
from hasten.offline.inputs import Place, digest, listed
from hasten.offline.reader import Reader

GOLDEN = Path(__file__).parents[2] / "spec" / "golden"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, size in (("b.png", (20, 30)), ("a.JPG", (33, 21)), ("more/c.png", (8, 12))):
        kind = "JPEG" if name.endswith("JPG") else "PNG"
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(folder / name, kind)
    (folder / "notes.txt").write_text("not an image")
    return folder


def reader(name: str, prepared: bool = False) -> Reader:
    bundle = Bundle.load(GOLDEN / name, verify=False)
    return Reader(bundle.signature, bundle.pipeline, prepared)


def test_a_folder_is_its_images_in_order(photos: Path) -> None:
    ids = [Path(p.id).relative_to(photos).as_posix() for p in listed([str(photos)])]
    assert ids == ["a.JPG", "b.png", "more/c.png"]
    assert listed([str(photos / "*.png")]) == listed([str(photos / "b.png")])
    assert len(listed([str(photos)], limit=2)) == 2


def test_folders_that_are_linked(tmp_path: Path, photos: Path) -> None:
    """Once each, though one leads back to where it came from."""
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "linked").symlink_to(photos)
    (photos / "more" / "round").symlink_to(photos)
    ids = [Path(p.id).relative_to(tmp_path / "given").as_posix() for p in listed([str(tmp_path / "given")])]
    assert ids == ["linked/a.JPG", "linked/b.png", "linked/more/c.png"]
    assert len(listed([str(photos)])) == 3


def test_a_folder_that_cannot_be_read(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def refused(path: Any) -> Any:
        if Path(path).name == "more":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(InputError, match=r"more cannot be read \(Permission denied\)"):
        listed([str(photos)])


def test_a_pattern_is_all_that_it_matches(photos: Path) -> None:
    """Files of no use, notes.txt, aside."""
    np.savez(photos / "x.npz", x=np.zeros((2, 3)))
    (photos / "list.csv").write_text("id,path\nfirst,b.png\n")
    ids = [p.id.removeprefix(f"{photos}/") for p in listed([str(photos / "*")])]
    assert ids == ["a.JPG", "b.png", "first", "more/c.png", "x.npz#0", "x.npz#1"]
    assert len(listed([str(photos / "**" / "*.png")])) == 2
    assert len(listed([str(photos / "**")])) == 6
    assert [p.row for p in listed([str(photos / "b.*"), str(photos / "*.npz")])] == [None, 0, 1]
    (photos / "rows").mkdir()
    np.save(photos / "rows" / "x.npy", np.zeros((3, 3)))
    assert len(listed([str(photos / "**")])) == 9
    (photos / "z[1]*.png").symlink_to("nowhere")
    assert listed([str(photos / "z*")]) == [Place(f"{photos}/z[1]*.png", f"{photos}/z[1]*.png")]
    with pytest.raises(InputError, match="nothing that can be read"):
        listed([str(photos / "b.png"), str(photos / "*.txt")])


def test_a_manifest_gives_ids(photos: Path) -> None:
    (photos / "list.csv").write_text("id,path\nfirst,b.png\nsecond,more/c.png\n")
    assert listed([str(photos / "list.csv")]) == [
        Place("first", str(photos / "b.png")),
        Place("second", str(photos / "more/c.png")),
    ]
    (photos / "excel.csv").write_bytes((photos / "list.csv").read_text().encode("utf-8-sig"))
    assert listed([str(photos / "excel.csv")]) == listed([str(photos / "list.csv")])
    (photos / "plain.csv").write_text("path\nb.png\n")
    assert [p.id for p in listed([str(photos / "plain.csv")])] == ["b.png"]


def test_parquet_is_a_manifest_too(photos: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"path": ["b.png"], "id": [7], "x": [1.0]}), photos / "list.parquet")
    assert listed([str(photos / "list.parquet")]) == [Place("7", str(photos / "b.png"))]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file\nb.png\n", "no column called path"),
        ("id,path\nfirst\n", "row 2"),
        ("id,path\nsame,b.png\nsame,a.JPG\n", "two samples are called 'same'"),
        ("id,path\n", "holds no sample"),
    ],
)
def test_manifests_that_cannot_be_used(photos: Path, text: str, said: str) -> None:
    (photos / "list.csv").write_text(text)
    with pytest.raises(InputError, match=said):
        listed([str(photos / "list.csv")])


@pytest.mark.parametrize(
    ("word", "said"), [("none.png", "does not exist"), ("*.gif", "nothing that can be read is called")]
)
def test_inputs_that_are_not_there(tmp_path: Path, word: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        listed([str(tmp_path / word)])


def test_a_video_is_one_place_of_many_samples(tmp_path: Path, photos: Path) -> None:
    (photos / "game.MP4").write_bytes(b"")
    (video,) = listed([str(photos / "game.MP4")])
    assert video.video
    assert [p.video for p in listed([str(photos)])] == [False, False, True, False]
    assert video.at(-7).id == f"{photos}/game.MP4#-7"
    assert [video.time(name) for name in (video.at(-7).id, video.id, f"{photos}/a.JPG#7", f"{video.id}#x")] == [
        -7, None, None, None,
    ]  # fmt: skip
    reader("video").check([video])
    with pytest.raises(UsageError, match="not videos"):
        reader("two-inputs").check([video])


def test_the_digest_is_of_what_is_listed(photos: Path) -> None:
    whole = listed([str(photos)])
    assert digest(whole) == digest(listed([str(photos)]))
    assert len({digest(whole), digest(whole[:2]), digest(whole[::-1])}) == 3


def test_images_are_prepared_as_one_by_one(photos: Path) -> None:
    (photos / "d.png").write_bytes((photos / "b.png").read_bytes()[:60])
    read, places = reader("classifier"), listed([str(photos)])
    ((good, tensors),), bad = read.load(places)
    assert good == [0, 1, 3]
    assert list(bad) == [2]
    assert "d.png" in bad[2]
    alone = [read.load([places[i]])[0][0][1]["image"] for i in good]
    assert np.array_equal(tensors["image"], np.concatenate(alone))


def test_rows_of_an_archive(tmp_path: Path) -> None:
    x = np.random.default_rng(1).normal(size=(9, 16)).astype(np.float32)
    x[4, 2] = np.nan
    np.savez(tmp_path / "x.npz", x=x, target=np.arange(9))
    places = listed([str(tmp_path / "x.npz")])
    assert [p.id for p in places[:2]] == [f"{tmp_path / 'x.npz'}#0", f"{tmp_path / 'x.npz'}#1"]
    ((good, tensors),), bad = reader("int8").load([places[i] for i in (8, 3, 4, 5, 6)])
    assert good == [0, 1, 3, 4]
    assert np.array_equal(tensors["x"], x[[8, 3, 5, 6]])
    assert "not finite" in bad[2]


def test_rows_that_do_not_fit(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 5), np.float32))
    np.savez(tmp_path / "y.npz", y=np.zeros((2, 16), np.float32))
    _, bad = reader("int8").load(listed([str(tmp_path / "x.npz"), str(tmp_path / "y.npz")]))
    assert "expected" in bad[0]
    assert "the bundle takes ['x']" in bad[3]


def test_tensors_that_are_prepared_already(tmp_path: Path) -> None:
    image = np.random.default_rng(1).normal(size=(3, 3, 8, 12)).astype(np.float32)
    np.savez(tmp_path / "p.npz", image=image)
    places = listed([str(tmp_path / "p.npz")])
    assert np.array_equal(reader("classifier", prepared=True).load(places)[0][0][1]["image"], image)
    assert len(reader("classifier").load(places)[1]) == 3


@pytest.mark.parametrize("name", ["int8", "two-inputs", "video"])
def test_images_for_a_bundle_that_takes_none(photos: Path, name: str) -> None:
    with pytest.raises(UsageError, match="not single image files"):
        reader(name).check(listed([str(photos)]))
