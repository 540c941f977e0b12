"""Packages of Debian's: fetched once, whole or not at all; where they cannot be had, one sentence says what to do."""

import os
from pathlib import Path

import pytest

from hasten.debian import needed, unpacked
from hasten.errors import MissingError

APT = """#!/bin/sh
echo "$@" >> "$LOG"
for package; do :; done
[ "$package" = nowhere ] && { echo "E: Unable to locate package nowhere" >&2; exit 100; }
echo content > "$package.deb"
"""
DPKG = """#!/bin/sh
mkdir -p "$3/usr/share"
cp "$2" "$3/usr/share/"
"""

CACHE = """#!/bin/sh
echo fine-dev
echo "  Depends: fine"
printf 'fine\\n<virtual>\\nlibc6\\nother\\n'
"""
QUERY = """#!/bin/sh
printf 'libc6\\nsh\\n'
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs that stand in for Debian's, a cache of this test's own, and what the first was asked."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in {"apt-get": APT, "dpkg": DPKG, "apt-cache": CACHE, "dpkg-query": QUERY}.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HASTEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    return tmp_path / "log"


def test_a_package_is_fetched_once(log: Path) -> None:
    folder = unpacked("fine-dev")
    assert (folder / "usr/share/fine-dev.deb").read_text() == "content\n"
    assert unpacked("fine-dev") == folder
    assert log.read_text() == "download -qq fine-dev\n"
    assert unpacked("fine-dev", "other") != folder


def test_what_is_needed_beside_it_and_not_installed(log: Path) -> None:
    assert needed("fine-dev") == ("fine-dev", "fine", "other")


def test_what_cannot_be_fetched_leaves_nothing(log: Path) -> None:
    with pytest.raises(MissingError) as refusal:
        unpacked("nowhere")
    assert str(refusal.value) == (
        "apt-get download fails: E: Unable to locate package nowhere; apt-get install nowhere"
    )
    assert list((log.parent / "cache" / "debian").iterdir()) == []


def test_where_there_is_no_apt(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingError) as refusal:
        unpacked("fine-dev")
    assert str(refusal.value) == (
        "fine-dev is not on this machine, and there is no apt-get to fetch it; apt-get install fine-dev"
    )
    with pytest.raises(MissingError, match="no apt to find it with"):
        needed("fine-dev")
