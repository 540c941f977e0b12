"""The C++ runtime: built from the sources that come with hasten, once for a version, into the cache."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hasten import __version__, debian, files
from hasten.errors import HastenError, InputError, MissingError, UsageError
from hasten.sdist import unpacked

LOADGEN = ("mlcommons-loadgen", "6.0.17", "a2e85d09e3cc0c606f89bfe1fbf97537c8b5b238ae0afbd923ad9c710fcf2ca8")
LIBAV = ("libavformat-dev", "libavcodec-dev", "libavutil-dev")
_MEND = "pip install 'hasten[cpp]'"
_BUILD_S = 900.0  # more is a hang
_KINDS: dict[int, type[HastenError]] = {2: UsageError, 3: InputError, 5: MissingError}


def sources() -> Path:
    """The folder with the CMake project: in the package where it is installed, at the top of a checkout."""
    here = Path(__file__).parent
    found = next((p for p in (here / "cpp", here.parents[1] / "cpp") if (p / "CMakeLists.txt").is_file()), None)
    if found is None:
        raise MissingError("hasten's C++ sources are not in this installation", "install hasten again, from its wheel")
    return found


def get_cmake_path() -> Path:
    """Where `find_package(hasten)` looks: give it as -Dhasten_DIR. Builds the runtime when it has not been built.

    Raises:
        MissingError: a compiler, CMake or a package is not here.
    """
    return build() / "lib" / "cmake" / "hasten"


def program() -> Path:
    """hasten-run, built when it has not been built."""
    return build() / "bin" / "hasten-run"


def build() -> Path:
    """The installed runtime (bin, lib, include), built when these sources have not been built with this OpenVINO.

    Raises:
        MissingError: a compiler, CMake or a package is not here; or the build fails, with its last lines.
    """
    folder = files.cache_folder() / "cpp" / f"{__version__}-{_digest()}"
    if not (folder / "bin" / "hasten-run").is_file():
        settings = ("-DHASTEN_RUNTIME=ON", "-DBUILD_TESTING=OFF", f"-DHASTEN_PYTHON={sys.executable}")
        _make(sources(), folder, *settings)
    return folder


def load_program() -> Path:
    """hasten-load, which runs a bundle under LoadGen: built when it has not been built, over the runtime.

    Raises:
        MissingError: as `build`; or LoadGen's sources cannot be fetched.
    """
    runtime = build()
    package, number, sha256 = LOADGEN
    folder = runtime.with_name(f"{runtime.name}-loadgen-{number}")
    if not (folder / "bin" / "hasten-load").is_file():
        loadgen, json_folder = unpacked(package, number, sha256), _json()
        settings = (f"-Dhasten_DIR={runtime / 'lib' / 'cmake' / 'hasten'}", f"-DHASTEN_LOADGEN={loadgen}")
        _make(sources() / "apps" / "load", folder, *settings, f"-DHASTEN_JSON={json_folder}")
    return folder / "bin" / "hasten-load"


def watch_program() -> Path:
    """hasten-watch, which watches live video: built when it has not been built, over the runtime and libav*.

    Those of the system where pkg-config knows them, with libavdevice for cameras where it is; or else of Debian's
    packages, unpacked into the cache, without it.

    Raises:
        MissingError: as `build`; or libav* cannot be found or fetched.
    """
    runtime = build()
    folder = runtime.with_name(f"{runtime.name}-watch" + "-cameras" * _has(*LIBAV, "libavdevice-dev"))
    if not (folder / "bin" / "hasten-watch").is_file():
        place = "" if _has(*LIBAV) else debian.unpacked(*debian.needed(*LIBAV))
        settings = (f"-Dhasten_DIR={runtime / 'lib' / 'cmake' / 'hasten'}", f"-DHASTEN_JSON={_json()}")
        _make(sources() / "apps" / "watch", folder, *settings, f"-DHASTEN_LIBAV={place}")
    return folder / "bin" / "hasten-watch"


def _has(*packages: str) -> bool:
    """Whether pkg-config knows these packages of Debian."""
    tool = shutil.which("pkg-config")
    names = [name.removesuffix("-dev") for name in packages]
    return tool is not None and subprocess.run([tool, "--exists", *names]).returncode == 0


def _make(project: Path, folder: Path, *settings: str) -> None:
    """Configure, build and install a CMake project into `folder`, which is whole or absent."""
    cmake = _tool("cmake")
    files.make_folder(folder.parent)
    with tempfile.TemporaryDirectory(dir=folder.parent) as aside:
        made, work = Path(aside) / "made", Path(aside) / "work"
        configure = [
            *(cmake, "-S", str(project), "-B", str(work), "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={_tool('ninja')}"),
            *(f"-DCMAKE_INSTALL_PREFIX={made}", "-DCMAKE_INSTALL_LIBDIR=lib", *settings),
        ]
        for command in (configure, [cmake, "--build", str(work)], [cmake, "--install", str(work)]):
            ended = subprocess.run(command, capture_output=True, text=True, timeout=_BUILD_S)
            if ended.returncode:
                said = [line for line in (ended.stdout + ended.stderr).splitlines() if line.strip()]
                raise MissingError(
                    f"the C++ runtime cannot be built: {' / '.join(said[-4:])[:600]}",
                    "install what is missing (a C++17 compiler; pip install 'hasten[cpp]')",
                )
        if not folder.exists():  # another process may have been faster
            files.replace_folder(made, folder)


def call(*words: str | Path, cpus: Sequence[int] | None = None) -> subprocess.CompletedProcess[str]:
    """Run hasten-run; exit code 1 is an answer, the others are errors.

    Args:
        cpus: the processors it may use; None: those of this process.

    Raises:
        HastenError: what it says, by its exit code.
    """
    pin = partial(os.sched_setaffinity, 0, cpus) if cpus else None
    ended = subprocess.run([program(), *words], capture_output=True, text=True, preexec_fn=pin)
    if ended.returncode in (0, 1):
        return ended
    said = (ended.stderr.strip().splitlines() or [f"it ended with {ended.returncode}"])[-1]
    fault, _, mend = said.removeprefix("hasten-run: ").partition("; ")
    raise _KINDS.get(ended.returncode, MissingError)(f"hasten-run: {fault}", mend or "run hasten verify on the bundle")


def answers(bundle: Path, word: str, *options: str | Path) -> list[dict[str, Any]]:
    """What hasten-run answers to one INPUT: an object a sample."""
    ended = call(bundle, word, "--no-verify", *options)
    if ended.returncode:
        raise InputError(ended.stderr.strip(), "run hasten verify --cpp on the bundle")
    return [json.loads(line) for line in ended.stdout.splitlines()]


def _tool(name: str) -> str:
    """A program of this environment, or of the system."""
    own = Path(sys.executable).parent / name
    found = str(own) if own.is_file() else shutil.which(name)
    if found is None:
        raise MissingError(f"{name} is not installed, and the C++ runtime is built with it", _MEND)
    return found


def _json() -> Path:
    """The headers of nlohmann-json, from its package."""
    found = find_spec("nlohmann_json")
    if found is None or not found.submodule_search_locations:
        raise MissingError("nlohmann-json is not installed, and the C++ runtime is built with it", _MEND)
    return Path(next(iter(found.submodule_search_locations))) / "include"


def _digest() -> str:
    """Of the sources, the schemas, and the versions that they are built against."""
    digest = hashlib.sha256(_version("openvino").encode())
    for path in _read():
        digest.update(f"{path.name}\n{files.sha256(path)}\n".encode())
    return digest.hexdigest()[:12]


def _read() -> Iterator[Path]:
    folder = sources()
    kinds = {".cpp", ".h", ".in", ".txt"}
    yield from sorted(p for p in folder.rglob("*") if p.suffix in kinds and "tests" not in p.relative_to(folder).parts)
    yield from sorted((folder.parent / "spec").glob("*.schema.json"))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
