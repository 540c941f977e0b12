"""Debian's packages, unpacked into the cache: what a build or an example needs of the system, without root."""

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from hasten import files
from hasten.errors import MissingError


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


def _run(command: list[str], place: Path, mend: str) -> None:
    ended = subprocess.run(command, cwd=place, capture_output=True, text=True)
    if ended.returncode:
        said = (ended.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise MissingError(f"{' '.join(command[:2])} fails: {said[:200]}", mend)
