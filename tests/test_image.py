"""Image files: Python and C++ read the same pixels from JPEG and PNG of every kind, and refuse the same files."""

import io
import itertools
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from hasten import cpp
from hasten.bundle import Bundle
from hasten.data import Data
from hasten.errors import HastenError, InputError
from hasten.find import engine
from hasten.image import MOST_PIXELS, PNG, read
from hasten.pipeline import Pipeline, Window
from hasten.prepare import Prepare
from hasten.stage import Stage

RNG = np.random.default_rng(0)
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def picture(height: int, width: int, channels: int = 3) -> np.ndarray:
    """Waves with noise on them, uint8 [height, width, channels], or [height, width] of one."""
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / (3 + c)) + np.cos(y / (4 + c)) for c in range(channels)], axis=-1)
    made = np.clip(128 + 50 * waves + RNG.normal(0, 20, waves.shape), 0, 255).astype(np.uint8)
    return made[..., 0] if channels == 1 else made


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(samples: np.ndarray, depth: int, colour: int, interlaced: bool = False, *more: bytes) -> bytes:
    """A PNG of samples [H, W, channels], each of `depth` bits; `more` chunks go before the data."""

    def packed(part: np.ndarray) -> bytes:
        if depth == 16:
            return b"".join(b"\0" + row.astype(">u2").tobytes() for row in part)
        if depth == 8:
            return b"".join(b"\0" + row.astype(np.uint8).tobytes() for row in part)
        bits = np.unpackbits(part.astype(np.uint8)[..., None], axis=-1)[..., -depth:]
        return b"".join(b"\0" + np.packbits(row.reshape(-1)).tobytes() for row in bits)

    height, width = samples.shape[:2]
    passes = [samples[y::down, x::right] for y, x, down, right in ADAM7] if interlaced else [samples]
    data = b"".join(packed(p) for p in passes if p.size)
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    return PNG + chunk(b"IHDR", head) + b"".join(more) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def grey_png(depth: int, interlaced: bool = False) -> tuple[bytes, np.ndarray]:
    """The file, and the colours that it holds."""
    samples = RNG.integers(0, 2**depth, (11, 13, 1))
    level = samples >> 8 if depth == 16 else samples * 255 // (2**depth - 1)
    return png(samples, depth, 0, interlaced), np.repeat(level, 3, axis=2).astype(np.uint8)


def colour_png(depth: int, alpha: bool, interlaced: bool = False) -> tuple[bytes, np.ndarray]:
    samples = RNG.integers(0, 2**depth, (9, 14, 4 if alpha else 3))
    colours = samples[..., :3] >> 8 if depth == 16 else samples[..., :3]
    return png(samples, depth, 6 if alpha else 2, interlaced), colours.astype(np.uint8)


def grey_alpha_png(depth: int) -> tuple[bytes, np.ndarray]:
    samples = RNG.integers(0, 2**depth, (6, 5, 2))
    level = samples[..., :1] >> 8 if depth == 16 else samples[..., :1]
    return png(samples, depth, 4), np.repeat(level, 3, axis=2).astype(np.uint8)


def palette_png(depth: int, transparent: bool) -> tuple[bytes, np.ndarray]:
    colours = RNG.integers(0, 256, (2**depth, 3)).astype(np.uint8)
    index = RNG.integers(0, 2**depth, (7, 9, 1))
    more = [chunk(b"PLTE", colours.tobytes())]
    more += [chunk(b"tRNS", bytes(range(0, 2 ** min(depth, 4))))] if transparent else []
    return png(index, depth, 3, False, *more), colours[index[..., 0]]


KNOWN = {
    **{f"grey-{d}": grey_png(d) for d in (1, 2, 4, 8, 16)},
    **{f"colour-{d}{'-alpha' if a else ''}": colour_png(d, a) for d in (8, 16) for a in (False, True)},
    **{f"grey-alpha-{d}": grey_alpha_png(d) for d in (8, 16)},
    **{f"palette-{d}{'-clear' if t else ''}": palette_png(d, t) for d in (1, 2, 4, 8) for t in (False, True)},
    **{f"interlaced-grey-{d}": grey_png(d, True) for d in (1, 4, 8, 16)},
    "interlaced-colour": colour_png(8, False, True),
    "interlaced-alpha-16": colour_png(16, True, True),
    "gamma": (
        png(pixels := RNG.integers(0, 256, (5, 4, 3)), 8, 2, False, chunk(b"gAMA", struct.pack(">I", 45455))),
        pixels.astype(np.uint8),
    ),
}


def jpeg(array: np.ndarray, mode: str | None = None, **settings: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array, mode=mode).save(out, "JPEG", **settings)
    return out.getvalue()


def exif(orientation: int, little: bool) -> bytes:
    order = "<" if little else ">"
    entries = [(271, 2, 4, b"abc\0"), (274, 3, 1, struct.pack(f"{order}H", orientation) + b"\0\0")]
    body = b"".join(struct.pack(f"{order}HHI", *e[:3]) + e[3] for e in entries)
    return b"Exif\0\0" + (b"II*\0" if little else b"MM\0*") + struct.pack(f"{order}IH", 8, 2) + body + b"\0" * 4


def jpegs() -> Iterator[tuple[str, bytes]]:
    for subsampling, progressive, (height, width) in itertools.product(
        (0, 1, 2), (False, True), ((16, 16), (17, 31), (1, 1), (45, 8))
    ):
        name = f"{('444', '422', '420')[subsampling]}{'-progressive' * progressive}-{width}x{height}"
        yield name, jpeg(picture(height, width), subsampling=subsampling, progressive=progressive, quality=85)
    yield "poor", jpeg(picture(40, 50), quality=3)
    yield "best", jpeg(picture(40, 50), quality=100, subsampling=0)
    yield "restarts", jpeg(picture(64, 80), restart_marker_blocks=2)
    yield "grey", jpeg(picture(33, 21, 1))
    yield "grey-progressive", jpeg(picture(33, 21, 1), progressive=True)
    yield "inks", jpeg(picture(20, 30, 4), "CMYK", quality=95)
    for orientation in range(10):
        yield f"turned-{orientation}", jpeg(picture(13, 22), exif=exif(orientation, orientation % 2 == 0))


JPEGS = dict(jpegs())


@pytest.fixture(scope="session")
def bundles_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A bundle that hands the pixels on as they are, of any size, by its source."""
    made: dict[str, Path] = {}

    def bundle(source: str) -> Path:
        if source not in made:
            folder = tmp_path_factory.mktemp("bundle")
            grey, channels = source == "grey", 1 if source == "grey" else 3
            nodes = [
                helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
                helper.make_node("ReduceMean", ["floats"], ["mean"], axes=[1, 2], keepdims=0),
            ]
            given = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", "H", "W", channels])
            gives = helper.make_tensor_value_info("mean", TensorProto.FLOAT, ["N", channels])
            graph = helper.make_graph(nodes, "net", [given], [gives])
            onnx.save(
                helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "n.onnx"
            )
            how = Prepare("image", source=source, colour="grey" if grey else "RGB", layout="NHWC", dtype="uint8")
            cases = Data({"image": RNG.integers(0, 256, (8, 5, 4) if grey else (8, 5, 4, 3), np.uint8)})
            stage = Stage.of(folder / "n.onnx", engine("openvino")(threads=1))
            written = {"recipe": "", "measurements": {}, "conditions": {}, "cases": cases}
            Bundle.write(folder / "b", stages=[stage], pipeline=Pipeline({"image": how}), **written).close()
            made[source] = folder / "b"
        return made[source]

    return bundle


def native(bundle: Path, file: Path) -> np.ndarray:
    """The pixels as C++ reads them, [H, W, 3] of RGB or [H, W]."""
    out = file.with_suffix(".out")
    out.mkdir()
    cpp.answers(bundle, str(file), "--prepared", out)
    pixels = np.load(out / "0.npy")[0]
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


@pytest.mark.parametrize("name", KNOWN)
def test_a_png_is_what_was_written(name: str, tmp_path: Path) -> None:
    content, expected = KNOWN[name]
    (tmp_path / "a.png").write_bytes(content)
    found = read(tmp_path / "a.png")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("source", ["RGB", "BGR", "grey"])
@pytest.mark.parametrize("name", [*KNOWN, *JPEGS])
def test_both_read_the_same(name: str, source: str, tmp_path: Path, bundles_of: Callable[[str], Path]) -> None:
    file = tmp_path / "file"
    file.write_bytes(KNOWN[name][0] if name in KNOWN else JPEGS[name])
    found = read(file, source)
    if source == "BGR":  # the bundle wants RGB, and turns it round
        np.testing.assert_array_equal(found[..., ::-1], read(file))
        found = found[..., ::-1]
    np.testing.assert_array_equal(native(bundles_of(source), file), found)


def test_grey_of_a_colour_is_that_of_the_pipeline(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(JPEGS["best"])
    how = Prepare("image", colour="grey", layout="NHWC", dtype="uint8")
    np.testing.assert_array_equal(read(tmp_path / "a.jpg", "grey"), how(read(tmp_path / "a.jpg")[None])[0, ..., 0])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_what_pillow_makes_of_it(orientation: int, tmp_path: Path) -> None:
    from PIL import ImageOps

    (tmp_path / "a.jpg").write_bytes(JPEGS[f"turned-{orientation}"])
    with Image.open(tmp_path / "a.jpg") as image:
        np.testing.assert_array_equal(read(tmp_path / "a.jpg"), np.asarray(ImageOps.exif_transpose(image)))


def huge(width: int, height: int) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return PNG + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


DAMAGED = "FILE is a damaged image; give the file again, whole"
BAD = {
    "text": (b"GIF89a, or some other file", "FILE is neither a JPEG nor a PNG; give such a file, or an array"),
    "empty": (b"", "FILE is neither a JPEG nor a PNG; give such a file, or an array"),
    "half-jpeg": (JPEGS["best"][: len(JPEGS["best"]) // 2], DAMAGED),
    "jpeg-without-end": (
        JPEGS["444-31x17"][:-40],
        DAMAGED,
    ),
    "jpeg-head": (JPEGS["best"][:20], DAMAGED),
    "half-progressive": (
        JPEGS["420-progressive-31x17"][: len(JPEGS["420-progressive-31x17"]) // 2],
        DAMAGED,
    ),
    "half-png": (
        KNOWN["colour-8"][0][: len(KNOWN["colour-8"][0]) // 2],
        DAMAGED,
    ),
    "changed-png": (
        KNOWN["colour-8"][0].replace(b"IDAT", b"IDAT\x01", 1),
        DAMAGED,
    ),
    "png-head": (PNG + b"\0\0", DAMAGED),
    "wide": (huge(70000, 1), f"FILE has 70000x1 pixels; at most {MOST_PIXELS} are read: give it smaller"),
    "large": (huge(65536, 65536), f"FILE has 65536x65536 pixels; at most {MOST_PIXELS} are read: give it smaller"),
}


@pytest.mark.parametrize("name", BAD)
def test_both_refuse_the_same(name: str, tmp_path: Path, bundles_of: Callable[[str], Path]) -> None:
    content, said = BAD[name]
    file = tmp_path / "file"
    file.write_bytes(content)
    with pytest.raises(InputError) as refusal:
        read(file)

    def plain(fault: HastenError) -> str:
        what, own, _ = fault.what.removeprefix("hasten-run: ").partition(" (")
        return f"{what if own else fault.what.removeprefix('hasten-run: ')}; {fault.mend}".replace(str(file), "FILE")

    assert plain(refusal.value) == said
    if content.startswith((b"\xff\xd8\xff", PNG)):  # else it is taken for an array
        with pytest.raises(InputError) as refusal:
            cpp.answers(bundles_of("RGB"), str(file))
        assert plain(refusal.value) == said


def test_video_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(JPEGS["poor"])
    said = "a.jpg is an image file, and NV12 comes from video; give an array"
    with pytest.raises(InputError) as refusal:
        read(tmp_path / "a.jpg", "NV12")
    assert str(refusal.value).endswith(said)
    spec = Path(__file__).parents[1] / "spec" / "golden"
    with pytest.raises(InputError) as refusal:
        cpp.answers(spec / "nv12", str(tmp_path / "a.jpg"))
    assert str(refusal.value).endswith(said)
    with pytest.raises(InputError, match="is one image, and a window has 3; give an array"):
        cpp.answers(spec / "video", str(tmp_path / "a.jpg"))
    assert Window(0.5, 6.0, 0.25).length == 3


def test_a_photo_is_answered_by_both(tmp_path: Path) -> None:
    """From the file to the decision."""
    (tmp_path / "a.jpg").write_bytes(jpeg(picture(60, 80)))
    folder = Path(__file__).parents[1] / "spec" / "golden" / "classifier"
    (line,) = cpp.answers(folder, str(tmp_path / "a.jpg"))
    with Bundle.load(folder) as bundle:
        assert bundle.answer({"image": read(tmp_path / "a.jpg")[None]}) == [line["decision"]]
