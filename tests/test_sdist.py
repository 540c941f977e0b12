"""Source distributions: fetched once, checked, unpacked; and a sentence where that cannot be. No network is used."""

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from hasten import files
from hasten.errors import MissingError
from hasten.sdist import unpacked

BACKEND = """
def prepare_metadata_for_build_wheel(folder, config_settings=None):
    import pathlib
    place = pathlib.Path(folder) / "tiny_source-1.0.dist-info"
    place.mkdir()
    (place / "METADATA").write_text("Metadata-Version: 2.1\\nName: tiny-source\\nVersion: 1.0\\n")
    (place / "WHEEL").write_text("Wheel-Version: 1.0\\n")
    return place.name

def build_wheel(folder, config_settings=None, metadata_directory=None):
    raise RuntimeError("nobody asks for a wheel")
"""
CONTENT = {
    "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
    "backend.py": BACKEND,
    "code.cc": "int one() { return 1; }\n",
    "PKG-INFO": "Metadata-Version: 2.1\nName: tiny-source\nVersion: 1.0\n",
}


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source distribution in a folder that stands in for the index."""
    path = tmp_path / "index" / "tiny_source-1.0.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as tar:
        for name, text in CONTENT.items():
            about = tarfile.TarInfo(f"tiny_source-1.0/{name}")
            about.size = len(text.encode())
            tar.addfile(about, io.BytesIO(text.encode()))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    monkeypatch.setenv("HASTEN_CACHE", str(tmp_path / "cache"))
    return path


def test_an_archive_is_fetched_once_and_unpacked(archive: Path) -> None:
    digest = files.sha256(archive)
    folder = unpacked("tiny-source", "1.0", digest)
    assert {p.name: p.read_text() for p in folder.iterdir()} == CONTENT
    archive.unlink()
    assert unpacked("tiny-source", "1.0", digest) == folder
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]  # nothing else is left behind


def test_another_archive_is_refused(archive: Path) -> None:
    with pytest.raises(MissingError, match=r"sources of tiny-source 1\.0 cannot be fetched"):
        unpacked("tiny-source", "1.0", hashlib.sha256(b"other").hexdigest())
    assert not list((files.cache_folder() / "sdist").iterdir())


def test_no_network_is_a_sentence(archive: Path) -> None:
    with pytest.raises(MissingError, match=r"cannot be fetched: .*; see that pip reaches the package index") as told:
        unpacked("not-there-at-all", "1.0", "0" * 64)
    assert told.value.exit_code == 5
