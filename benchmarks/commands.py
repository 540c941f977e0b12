"""The hasten command line, called as a user calls it, in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
HASTEN = [sys.executable, "-c", "import sys; from hasten.cli import main; sys.exit(main())"]


def boost(*arguments: str | Path, output: Path, ends: tuple[int, ...] = (0,)) -> dict[str, Any]:
    """`hasten boost ARGUMENTS -o OUTPUT`, and its result.

    Raises:
        RuntimeError: it ended with another exit code than `ends`; its last words.
    """
    told = output.with_suffix(".json")
    output.parent.mkdir(parents=True, exist_ok=True)
    ended = subprocess.run(
        [*HASTEN, "boost", *map(str, arguments), "-o", str(output), "--json", str(told), "-q"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if ended.returncode not in ends:
        raise RuntimeError(f"hasten boost ended with {ended.returncode}: {ended.stderr.strip()[-500:]}")
    return json.loads(told.read_text())
