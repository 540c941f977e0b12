"""Finds what a run has kept: in its trials folder, or inside the report of a bundle."""

import json
import re
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from hasten import manifest
from hasten.errors import InputError

_INSIDE = re.compile(r'<script type="application/json" id="result">(.*?)</script>', re.DOTALL)
_AGAIN = "run it again"


def kept(folder: str | Path) -> tuple[dict[str, Any], Path]:
    """The result of a finished run, a search or a comparison, and where a page made anew of it belongs.

    Args:
        folder: the bundle, its `.trials`, or the bundle alone; or that of a comparison. A bundle is sealed: the page
            then goes beside it.

    Raises:
        InputError: there is none, the run has not ended, or what is there is not a result.
    """
    folder = Path(folder).absolute()
    for trials in (folder, folder.with_name(f"{folder.name}.trials")):
        if (trials / "result.json").is_file():
            return read(trials / "result.json"), trials / "report.html"
    report = folder / "report.html"
    if report.is_file():
        inside = _INSIDE.search(report.read_text(errors="replace"))
        if inside is None:
            raise InputError(f"{report} holds no result", "give the folder of the trials instead")
        return _checked(inside[1], report), folder.with_name(f"{folder.name}.report.html")
    for trials in (folder, folder.with_name(f"{folder.name}.trials")):
        if (trials / "trials.sqlite").exists():
            raise InputError(f"the run in {trials} has not ended", "go on with it: add --resume")
    raise InputError(f"{folder} holds no result", "give the folder that was given to `hasten boost -o`")


def read(file: str | Path, kind: str = "") -> dict[str, Any]:
    """The result in a JSON file.

    Args:
        kind: "result" of a search, or "comparison"; empty: either.

    Raises:
        InputError: it cannot be read, or is of another kind.
    """
    try:
        text = Path(file).read_text(errors="replace")
    except OSError as fault:
        raise InputError(f"{file} cannot be read ({fault.strerror})", "give the JSON file of a result") from fault
    return _checked(text, Path(file), kind)


def _checked(text: str, path: Path, kind: str = "") -> dict[str, Any]:
    try:
        result = json.loads(text)
    except ValueError as fault:
        raise InputError(f"{path} is damaged ({fault})", _AGAIN) from fault
    kind = kind or ("comparison" if isinstance(result, dict) and "rows" in result else "result")
    wrong = best_match(Draft202012Validator(manifest.schema(kind), registry=manifest.schemas()).iter_errors(result))
    if wrong is not None:
        raise InputError(f"{path} is no {kind} of this version ({wrong.json_path}: {wrong.message[:150]})", _AGAIN)
    return dict(result)
