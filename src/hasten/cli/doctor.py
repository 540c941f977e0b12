"""Say what this machine has: processor, engines, techniques and what mends each that is missing, caches."""

import argparse
from pathlib import Path

from hasten.cli._outcome import Outcome
from hasten.search.progress import Progress


def add(parser: argparse.ArgumentParser) -> None:
    """No options of its own."""


def run(arguments: argparse.Namespace, progress: Progress) -> Outcome:
    from hasten import files, find
    from hasten.engines import _rtx
    from hasten.measure.machine import conditions
    from hasten.report import html
    from hasten.report.table import doctor_tables
    from hasten.serve import server

    parts = [
        {
            "kind": kind,
            "name": name,
            "missing": found.missing(),
            "takes": found.takes,
            "caveat": getattr(found, "caveat", ""),
        }
        for kind, all_found in (("engine", find.engines()), ("technique", find.techniques()))
        for name, found in all_found.items()
    ]
    for name, board in find.boards().items():
        parts.append({"kind": "board", "name": name, "missing": None, "takes": "onnx", "caveat": board.caveat})
    rtx = _rtx.missing()
    parser = "tensorrt_rtx" if rtx else f"tensorrt_rtx {_rtx.version()}"
    parts += [
        {"kind": "report", "name": "html", "missing": html.missing(), "takes": "", "caveat": ""},
        {"kind": "report", "name": "page of a watch", "missing": server.missing(), "takes": "", "caveat": ""},
        {"kind": "parser", "name": parser, "missing": rtx, "takes": "", "caveat": ""},
    ]
    cache = files.cache_folder()
    caches = [{"folder": str(p), "mb": _size_mb(p)} for p in sorted(cache.iterdir())] if cache.is_dir() else []
    result = {"conditions": conditions(arguments.seed), "parts": parts, "caches": caches}
    can_run = any(p["kind"] == "engine" and p["takes"] == "onnx" and not p["missing"] for p in parts)
    refusal = "" if can_run else "no engine that runs ONNX is installed; pip install 'hasten[onnxruntime,openvino]'"
    return Outcome(result, doctor_tables(result), refusal, 0 if can_run else 5)


def _size_mb(path: Path) -> float:
    every = [path] if path.is_file() else path.rglob("*")
    return sum(f.stat().st_size for f in every if f.is_file()) / 1e6
