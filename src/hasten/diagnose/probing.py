"""Hands models of one node to an engine, in a child process with limits, and remembers what came of each.

What is remembered is a file a target and a version of its engine in the cache: key of the node -> word and why. What
ended by a limit or a crash is not remembered: the machine may have been at fault.
"""

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import onnx

from hasten import files
from hasten.child import Child, ChildDied
from hasten.diagnose.answers import DRAWN, Oracle, difference
from hasten.diagnose.single import Single
from hasten.diagnose.target import Told
from hasten.diagnose.traced import pack, unpack
from hasten.errors import HastenError
from hasten.model import Arrays

EDITION = 1  # of the questions: another one forgets all answers
LIMIT_S, MEMORY_MB = 30.0, 3000


def probed(
    singles: Sequence[Single], child: str, cache: str, compares: bool = False, settings: Mapping[str, Any] | None = None
) -> list[Told]:
    """What the engine makes of each.

    Args:
        child: "module:Class" whose method `probe(path, inputs, outputs, made, **settings)` gives `word` and `why`, and
            packs its answers at `made` where it ran. The feed is packed beside the model.
        cache: name of the file in the cache: the engine, its version, and settings that change its verdict.
        compares: whether an answer other than ONNX's is refused.
    """
    path = files.cache_folder() / "check" / f"{re.sub('[^a-zA-Z0-9_.-]', '_', cache)}.{EDITION}.json"
    known = {k: Told(*v) for k, v in files.remembered(path).items() if isinstance(v, list) and len(v) == 2}
    new: dict[str, Told] = {}
    with _Asking(child, dict(settings or {}), compares) as asking:
        for single in singles:
            if single.model is not None and single.key not in known and single.key not in new:
                new[single.key] = asking.told(single)
    if lasting := {k: t for k, t in new.items() if k not in asking.fleeting}:
        both = files.remembered(path) | {k: [t.word, t.why] for k, t in lasting.items()}
        files.write(path, _json(both))
    known |= new
    return [Told("unknown", single.why) if single.model is None else known[single.key] for single in singles]


class _Asking:
    """One child after another, and the oracle beside it."""

    def __init__(self, child: str, settings: dict[str, Any], compares: bool) -> None:
        self._target, self._settings, self._compares = child, settings, compares
        self._child: Child | None = None
        self._oracle = Oracle()
        self._scratch = tempfile.TemporaryDirectory(prefix="hasten-")
        self.fleeting: set[str] = set()

    def told(self, single: Single) -> Told:
        assert single.model is not None
        try:
            said, answer = self._probe(single.model, single.feed)
        except ChildDied as fault:
            self.fleeting.add(single.key)
            return Told("refused", f"the engine {_ended(fault)} on it")
        if answer is None or not self._compares or single.node.op_type in DRAWN:
            return said
        wrong = self._wrong(single.model, single.feed, answer)
        return Told("refused", f"answers differ {wrong}") if wrong else said

    def _probe(self, model: onnx.ModelProto, feed: Arrays) -> tuple[Told, Arrays | None]:
        """What the engine says, and its answers where it ran.

        Raises:
            ChildDied: it crashed, or took too long or too much.
        """
        path, outputs = self._written(model, feed), [v.name for v in model.graph.output]
        if self._child is None:
            self._child = Child(self._target, memory_mb=int(MEMORY_MB + 8 * path.stat().st_size / 1e6))
        made = path.with_name("made.npz")
        made.unlink(missing_ok=True)
        files_of = {"path": str(path), "inputs": list(feed), "outputs": outputs, "made": str(made)}
        try:
            said = self._child.call("probe", LIMIT_S, **files_of, **self._settings)
        except ChildDied:
            self._child.close()
            self._child = None
            raise
        return Told(said["word"], said["why"]), unpack(made, outputs) if made.exists() else None

    def _written(self, model: onnx.ModelProto, feed: Arrays) -> Path:
        path = Path(self._scratch.name) / "single.onnx"
        path.write_bytes(model.SerializeToString())
        pack(path.with_name("feed.npz"), feed)
        return path

    def _wrong(self, model: onnx.ModelProto, feed: Arrays, answer: Arrays) -> str:
        """How the answer differs from ONNX Runtime's and from that of ONNX's own evaluator, and by which attribute."""
        path = Path(self._scratch.name) / "single.onnx"
        said = ""
        for who in Oracle.ORDER:
            right = self._oracle(who, path, list(feed), list(answer))
            if right is not None:
                apart = difference(answer, right)
                if not apart:
                    return ""
                said = said or f"from {_NAMES[who]}'s {apart}"
        ignored = self._ignored(model, feed, answer) if said else []
        return f"{said}: it ignores {', '.join(ignored)}" if ignored else said

    def _ignored(self, model: onnx.ModelProto, feed: Arrays, answer: Arrays) -> list[str]:
        """Attributes without which the engine answers the same, and others do not."""
        found = []
        for attribute in model.graph.node[0].attribute:
            less = onnx.ModelProto()
            less.CopyFrom(model)
            kept = [a for a in less.graph.node[0].attribute if a.name != attribute.name]
            del less.graph.node[0].attribute[:]
            less.graph.node[0].attribute.extend(kept)
            try:
                _, without = self._probe(less, feed)
            except HastenError:
                continue
            right = self._oracle(Oracle.ORDER[0], Path(self._scratch.name) / "single.onnx", list(feed), list(answer))
            same = without is not None and not difference(without, answer)
            if same and right is not None and not difference(answer, right):
                found.append(f"the attribute {attribute.name}")
        return found

    def __enter__(self) -> "_Asking":
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.close()
        self._oracle.close()
        self._scratch.cleanup()


_NAMES: Mapping[str, Literal["ONNX Runtime", "ONNX"]] = {"onnxruntime": "ONNX Runtime", "reference": "ONNX"}


def _ended(fault: ChildDied) -> str:
    """How the child ended, or what it raised, without its name."""
    if " raised " in fault.what:
        return f"raised {fault.what.partition(' raised ')[2]}"
    return re.sub(r"^the child process \S+ ", "", fault.what).partition(": ")[0]


def _json(known: Mapping[str, Any]) -> str:
    return json.dumps(known, indent=0, sort_keys=True) + "\n"
