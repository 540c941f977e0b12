"""What a job writes: a row a sample, as JSON lines or Parquet; each file appears whole."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from hasten import files
from hasten.errors import InputError, MissingError
from hasten.model import Signature
from hasten.pipeline import Pipeline

Form = Literal["jsonl", "parquet"]
FORMS: tuple[str, ...] = get_args(Form)


def require(form: Form) -> None:
    """
    Raises:
        MissingError: Parquet, and no pyarrow.
    """
    if form == "parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError as fault:
            raise MissingError(
                "Parquet is written by pyarrow, which is not installed", "pip install 'hasten[parquet]'"
            ) from fault


def part(out: Path, index: int, form: Form) -> Path:
    return out / f"part-{index:06d}.{form}"


def columns(signature: Signature, pipeline: Pipeline, tensors: bool) -> dict[str, int]:
    """Columns beside id and bundle, and how deep their lists are nested.

    `answer`: the decision, as spec/answers.md has it. Beside it, in lists of the same form: `score` of each class that
    is told, and `label`, its name, where classes have names. Of boxes: a label, a score and a `box` (left, top, right,
    bottom) each. Each output by its name, where nothing is decided or `tensors` are asked for.
    """
    answer, depth = pipeline.answer, len(signature.outputs[0].shape) - 1
    found: dict[str, int] = {}
    if answer.kind == "boxes":
        found = {"answer": 2, "score": 1, "box": 2} | ({"label": 1} if answer.labels else {})
    elif answer.kind != "tensor":
        found = dict.fromkeys(("answer", "score", *(["label"] if answer.labels else [])), depth)
    if answer.kind == "tensor" or tensors:
        if clash := {"id", "bundle", *found} & {t.name for t in signature.outputs}:
            raise InputError(
                f"an output is called {min(clash)!r}, which is a column of its own", "rename it in the model"
            )
        found |= {t.name: len(t.shape) - 1 for t in signature.outputs}
    return found


def write(
    path: Path, rows: Sequence[Mapping[str, Any]], form: Form, depths: Mapping[str, int], signature: Signature
) -> None:
    """Whole or not at all.

    Args:
        rows: id, bundle, and those of `columns`.

    Raises:
        InputError: the disk refuses.
    """
    if form == "jsonl":
        files.write(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))
    else:
        files.write(path, partial(_parquet, rows, depths, signature))


def ids(path: Path, form: Form) -> Iterator[str]:
    """Of the rows of one part.

    Raises:
        InputError: it cannot be read.
    """
    try:
        if form == "jsonl":
            with path.open(encoding="utf-8") as file:
                for line in file:
                    yield json.loads(line)["id"]
        else:
            from pyarrow import parquet

            yield from parquet.read_table(path, columns=["id"])["id"].to_pylist()
    except (OSError, ValueError, KeyError) as fault:  # pyarrow's are of these
        raise InputError(f"{path} cannot be read", "remove that file and add --resume") from fault


def _parquet(rows: Sequence[Mapping[str, Any]], depths: Mapping[str, int], signature: Signature, path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    kinds = {t.name: pyarrow.from_numpy_dtype(t.dtype) for t in signature.outputs}
    kinds |= {
        "answer": pyarrow.int64(),
        "label": pyarrow.string(),
        "score": pyarrow.float64(),
        "box": pyarrow.float64(),
    }
    schema = [("id", pyarrow.string()), ("bundle", pyarrow.string())]
    for name, depth in depths.items():
        kind = kinds[name]
        for _ in range(depth):
            kind = pyarrow.list_(kind)
        schema.append((name, kind))
    parquet.write_table(pyarrow.Table.from_pylist(list(rows), schema=pyarrow.schema(schema)), path)
