"""Debian's packages, unpacked into the cache: what a build or an example needs of the system, without root."""

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from hasten import files
from hasten.errors import MissingError

_ONLY_DEPENDS = [f"--no-{kind}" for kind in ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")]


def unpacked(*packages: str) -> Path:
    """A folder with the files of the packages, in the place of `/`; fetched when it is first asked for.

    Args:
        packages: as apt names them; those that they depend on are not added.

    Raises:
        MissingError: this is no Debian, or its packages cannot be reached.
    """
    digest = hashlib.sha256(" ".join(sorted(packages)).encode()).hexdigest()[:8]
    folder = files.cache_folder() / "debian" / f"{packages[0]}-{digest}"
    if folder.exists():
        return folder
    mend = f"apt-get install {' '.join(packages)}"
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise MissingError(f"{packages[0]} is not on this machine, and there is no apt-get to fetch it", mend)
    files.make_folder(folder.parent)
    with tempfile.TemporaryDirectory(dir=folder.parent) as aside:
        fetched, made = Path(aside) / "fetched", Path(aside) / "made"
        fetched.mkdir()
        _run(["apt-get", "download", "-qq", *packages], fetched, mend)
        for archive in sorted(fetched.glob("*.deb")):
            _run(["dpkg", "-x", str(archive), str(made)], fetched, mend)
        if not folder.exists():  # another process may have been faster
            made.replace(folder)
    return folder


def needed(*packages: str) -> tuple[str, ...]:
    """The packages, and those that they depend on, as far as they are not installed here.

    Raises:
        MissingError: as `unpacked`.
    """
    mend = f"apt-get install {' '.join(packages)}"
    if not (shutil.which("apt-cache") and shutil.which("dpkg-query")):
        raise MissingError(f"{packages[0]} is not on this machine, and there is no apt to find it with", mend)
    said = _run(["apt-cache", "depends", "--recurse", *_ONLY_DEPENDS, *packages], Path.cwd(), mend)
    wanted = {line for line in said.splitlines() if line[:1].isalnum()}
    here = _run(["dpkg-query", "-W", "-f", "${Package}\n"], Path.cwd(), mend).splitlines()
    return (packages[0], *sorted(wanted - set(here) - {packages[0]}))


def _run(command: list[str], place: Path, mend: str) -> str:
    ended = subprocess.run(command, cwd=place, capture_output=True, text=True)
    if ended.returncode:
        said = (ended.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise MissingError(f"{' '.join(command[:2])} fails: {said[:200]}", mend)
    return ended.stdout
