"""Source distributions of the package index, unpacked into the cache: what a build needs beside a wheel."""

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from hasten import files
from hasten.errors import MissingError

_FETCH_S = 300.0  # more is a hang


def unpacked(package: str, version: str, sha256: str) -> Path:
    """The folder that the archive holds; fetched by pip when it is first asked for.

    Args:
        sha256: of the archive, hex: another one is refused.

    Raises:
        MissingError: pip is not here, the index cannot be reached, or what it gives is another archive.
    """
    folder = files.cache_folder() / "sdist" / f"{package}-{version}-{sha256[:8]}"
    if folder.exists():
        return folder
    files.make_folder(folder.parent)
    with tempfile.TemporaryDirectory(dir=folder.parent) as aside:
        archive = _fetched(package, version, sha256, Path(aside))
        made = Path(aside) / "made"
        with tarfile.open(archive) as tar:
            tar.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
            tar.extractall(made)
        inner = list(made.iterdir())
        if not folder.exists():  # another process may have been faster
            (inner[0] if len(inner) == 1 else made).replace(folder)
    return folder


def _fetched(package: str, version: str, sha256: str, aside: Path) -> Path:
    wanted = aside / "requirements.txt"
    wanted.write_text(f"{package}=={version} --hash=sha256:{sha256}\n")
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--retries", "1"),
        *("--timeout", "15", "--no-deps", "--no-binary", package, "--dest", str(aside), "--requirement", str(wanted)),
    ]
    mend = "see that pip reaches the package index"
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=_FETCH_S)
    except subprocess.TimeoutExpired as fault:
        raise MissingError(f"the sources of {package} {version} cannot be fetched in time", mend) from fault
    found = sorted(aside.glob("*.tar.gz"))
    if ended.returncode or len(found) != 1:
        said = (ended.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise MissingError(f"the sources of {package} {version} cannot be fetched: {said[:200]}", mend)
    with found[0].open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise MissingError(f"the sources of {package} {version} are not those that were tested", mend)
    return found[0]
