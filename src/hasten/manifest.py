"""bundle.json: read strictly, checked against its schema and against the folder that it describes, and sealed."""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.validators import extend
from referencing import Registry, Resource

from hasten import files
from hasten.errors import ContractError, InputError

FORMAT = 1
NAME = "bundle.json"
MAX_JSON_BYTES = 4 << 20
EXACT = 2**53  # beyond it a reader that has only doubles would read another integer
AGAIN = "copy the bundle again from where it was made"
BLANK = "0" * 64  # in the place of the seal while it is computed


def read(folder: Path) -> dict[str, Any]:
    """Parse bundle.json, check it, and see that the folder holds exactly the files that it lists, unchanged.

    Raises:
        InputError: the first thing that is wrong.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder", "give the folder of a bundle")
    path = folder / NAME
    if not path.exists():
        raise InputError(f"{folder} is not a bundle: it has no {NAME}", "give a folder that hasten boost has made")
    data = parse(path)
    number = data.get("format") if isinstance(data, dict) else None
    if type(number) is not int or number < 1:
        raise InputError(f"{path} has no format number", "give a folder that hasten boost has made")
    if number > FORMAT:
        raise InputError(f"{path} has format {number}, this version reads {FORMAT}", "pip install --upgrade hasten")
    validate(data, "bundle", path)
    seal = data["seal"].encode()
    raw = path.read_bytes()
    if raw.count(seal) != 1 or hashlib.sha256(raw.replace(seal, BLANK.encode())).hexdigest() != data["seal"]:
        raise InputError(f"{path} was changed after the bundle was made", AGAIN)
    _check_files(folder, data["files"])
    return dict(data)


def write(folder: Path, content: Mapping[str, Any]) -> None:
    """Add the digests of all files in `folder` and the seal, and write bundle.json.

    Args:
        content: everything but `format`, `seal` and `files`.
    """
    digests = {name: files.sha256(folder / name) for name in sorted(_listed(folder) - {NAME})}
    text = dumps({"format": FORMAT, "seal": BLANK, **content, "files": digests})
    sealed = text.replace(BLANK, hashlib.sha256(text.encode()).hexdigest(), 1)
    files.write(folder / NAME, sealed)


def dumps(value: Mapping[str, Any]) -> str:
    """JSON text that `parse` takes.

    Raises:
        ContractError: a value that is not finite or not of JSON.
        InputError: it would be too long to be read again.
    """
    try:
        text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    except (TypeError, ValueError) as fault:
        raise ContractError(f"the bundle was given a value that JSON has no word for: {fault}") from fault
    if len(text.encode()) > MAX_JSON_BYTES:
        raise InputError("the bundle's JSON would exceed 4 MiB", "let the pipeline answer with tensors")
    return text


def parse(path: Path) -> Any:
    """Read JSON strictly: of bounded size, no duplicate keys, finite numbers, integers that a double holds exactly.

    Raises:
        InputError: what is wrong with it.
    """
    if path.is_symlink() or not path.is_file():
        raise InputError(f"{path} is a link or not a file", AGAIN)
    if path.stat().st_size > MAX_JSON_BYTES:
        raise InputError(f"{path} is larger than {MAX_JSON_BYTES >> 20} MiB", AGAIN)
    try:
        return json.loads(
            path.read_bytes().decode(),
            object_pairs_hook=_unique,
            parse_int=lambda text: _number(int(text)),
            parse_float=lambda text: _number(float(text)),
            parse_constant=_number,
        )
    except (ValueError, RecursionError) as fault:
        raise InputError(f"{path} is not strict JSON ({fault})", AGAIN) from fault


def validate(data: Any, schema: str, path: Path) -> None:
    """Check the content of `path` against spec/<schema>.schema.json.

    Raises:
        InputError: the first place that does not fit.
    """
    fault = best_match(_validator(schema).iter_errors(data))
    if fault is not None:
        raise InputError(f"{path}: {_said(fault)}", AGAIN)


def schema(name: str) -> dict[str, Any]:
    """A schema of spec/, which lies beside the sources or within the installed package."""
    return dict(json.loads((_schemas() / f"{name}.schema.json").read_text()))


def schemas() -> Registry:
    """All of them, by the names of their files: a schema may refer to another."""
    found = ((f.name, Resource.from_contents(json.loads(f.read_text()))) for f in _schemas().glob("*.schema.json"))
    return Registry().with_resources(found)


def _schemas() -> Path:
    here = Path(__file__).parent
    return next(f for f in (here / "spec", here.parents[1] / "spec") if f.is_dir())


@cache
def _validator(name: str) -> Any:
    """2.0 is no integer here, though JSON Schema would let it pass."""
    types = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    return extend(Draft202012Validator, type_checker=types)(schema(name), registry=schemas())


def _said(fault: ValidationError) -> str:
    place = fault.json_path.removeprefix("$").removeprefix(".") or "the whole"
    if fault.validator == "pattern" and isinstance(fault.schema, dict) and "description" in fault.schema:
        return f"{place}: {str(fault.instance)[:100]!r} is not {fault.schema['description']}"
    return f"{place}: {fault.message[:200]}"


def _check_files(folder: Path, digests: Mapping[str, str]) -> None:
    here = _listed(folder) - {NAME}
    for name in sorted(set(digests) - here):
        raise InputError(f"{folder} lacks {name}", AGAIN)
    for name in sorted(here - set(digests)):
        raise InputError(f"{folder} holds {name}, which {NAME} does not list", "remove it")
    for name, digest in digests.items():
        if files.sha256(folder / name) != digest:
            raise InputError(f"{folder / name} was changed after the bundle was made", AGAIN)


def _listed(folder: Path) -> set[str]:
    """Every file below `folder`, as posix paths; links and devices are refused."""
    found = set()
    for place, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(place) / name
            if path.is_symlink():
                raise InputError(f"{path} is a symbolic link", "copy the bundle with the files themselves (cp -rL)")
            if path.is_file():
                found.add(path.relative_to(folder).as_posix())
            elif not path.is_dir():
                raise InputError(f"{path} is neither a file nor a folder", "remove it")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key stands twice")
    return made


def _number(value: Any) -> Any:
    if isinstance(value, str) or (abs(value) > EXACT if isinstance(value, int) else not math.isfinite(value)):
        raise ValueError("a number is not finite, or too large")
    return value
