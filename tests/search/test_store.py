"""The store: what has ended stays ended, whatever happens to the process."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hasten.errors import InputError, Passing
from hasten.search.store import Store
from hasten.search.trial import Trial

IDENTITY = {"model": "m", "data": {"validate": "v"}, "options": {"seed": 0}}


def test_a_trial_that_ended_is_not_pending_again(tmp_path: Path) -> None:
    trial = Trial("simplify", "onnxruntime(threads=1)")
    with Store(tmp_path) as store:
        store.begin(IDENTITY, resume=False)
        assert store.plan(trial) == trial
        assert store.ended(trial) is None
        store.start(trial)
        kept = store.end(replace(trial, status="kept", accuracy_drop_ci95=(-0.001, 0.002), latency_p50_ms=0.5))
    with Store(tmp_path) as store:
        store.begin(IDENTITY, resume=True)
        assert store.plan(trial) == kept == store.ended(trial)
        assert store.trials() == [kept]


def test_what_may_pass_is_tried_again(tmp_path: Path) -> None:
    never, another_time = Trial("half", "e"), Trial("prune", "e")
    with Store(tmp_path) as store:
        store.begin(IDENTITY, resume=False)
        assert store.fail(store.plan(never), InputError("no float", "leave it")).status == "failed"
        assert store.fail(store.plan(another_time), Passing("the disk is full")).reason == "the disk is full"
    with Store(tmp_path) as store:
        store.begin(IDENTITY, resume=True)
        ended = store.ended(never)
        assert ended is not None
        assert ended.reason == "no float; leave it"
        assert store.ended(another_time) is None
        assert store.plan(another_time).status == "pending"


def test_an_unfinished_run_is_not_thrown_away(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.begin(IDENTITY, resume=False)
        store.end(replace(store.plan(Trial("a", "e")), status="failed", reason="why"))
    with Store(tmp_path) as store, pytest.raises(InputError, match="add --resume"):
        store.begin(IDENTITY, resume=False)
    with Store(tmp_path) as store:
        store.finish()
        store.begin(IDENTITY, resume=False)
        assert store.trials() == []


@pytest.mark.parametrize("change", [{"model": "other"}, {"data": {"validate": "other"}}, {"options": {"seed": 1}}])
def test_resuming_with_something_else_names_it(tmp_path: Path, change: dict[str, object]) -> None:
    with Store(tmp_path) as store:
        store.begin(IDENTITY, resume=False)
    with Store(tmp_path) as store, pytest.raises(InputError, match=f"another {next(iter(change))}"):
        store.begin(IDENTITY | change, resume=True)


def test_resume_where_nothing_is_starts_anew(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.begin(IDENTITY, resume=True)
        assert store.trials() == []


def test_what_was_ended_survives_a_kill(tmp_path: Path) -> None:
    """The process dies the moment after `end` returned."""
    code = f"""
import os, signal
from dataclasses import replace
from pathlib import Path
from hasten.search.store import Store
from hasten.search.trial import Trial
store = Store(Path({str(tmp_path)!r}))
store.begin({IDENTITY!r}, resume=False)
for name in "abc":
    trial = store.plan(Trial(name, "e"))
    store.start(trial)
    if name != "c":
        store.end(replace(trial, status="kept"))
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    with Store(tmp_path) as store:
        store.begin(IDENTITY, resume=True)
        assert [(t.recipe, t.status) for t in store.trials()] == [("a", "kept"), ("b", "kept"), ("c", "pending")]


def test_a_damaged_store_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "trials.sqlite").write_bytes(b"not a database, but long enough to look at" * 100)
    with pytest.raises(InputError, match="cannot be used"):
        Store(tmp_path)


def test_a_store_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    """A full disk, stood in for by a page limit that is reached."""
    with Store(tmp_path) as store:
        store.begin(IDENTITY, resume=False)
        store._db.execute("pragma max_page_count = 8")
        with pytest.raises(InputError, match="make room, then add --resume"):
            [store.plan(Trial("x" * 400, str(i))) for i in range(1000)]
