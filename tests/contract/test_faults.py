"""One deliberate fault in each technique turns the test red that is there for it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_planted import plant

from hasten import find

# technique -> (file, what stands there, the fault, the test that has to see it)
FAULTS = {
    "heal": (
        "compress/_training.py", "score > max((e", "score < max((e",
        "tests/compress/test_heal.py::test_the_best_epoch_stays",
    ),
    "distil": (
        "compress/distil.py", "(original, *further) if further else ()", "()",
        "tests/compress/test_distil.py::test_teachers_are_followed_in_equal_parts",
    ),
    "prune": (
        "compress/prune.py", "np.argsort(score,", "np.argsort(-score,",
        "tests/compress/test_prune.py::test_what_gives_nothing_goes_and_nothing_changes",
    ),
    "quantize_aware": (
        "compress/quantize_aware.py", "bias_correction=False", "bias_correction=True",
        "tests/compress/test_quantize_aware.py::test_the_file_answers_as_the_network_that_was_trained",
    ),
    "factorize": (
        "compress/factorize.py", "(kept < energy)", "(kept > energy)",
        "tests/compress/test_factorize.py::test_a_layer_of_low_rank_loses_nothing",
    ),
    "separable": (
        "compress/_beside.py", "distance / wanted", "-distance / wanted",
        "tests/compress/test_separable.py::test_parts_learn_from_their_layer_and_nothing_else_moves",
    ),
    "drop_layers": (
        "compress/drop_layers.py", "min(harm,", "max(harm,",
        "tests/compress/test_drop_layers.py::test_what_does_least_goes_first",
    ),
    "sparsify": (
        "compress/_masked.py", "size.argsort(stable", "(-size).argsort(stable",
        "tests/compress/test_sparsify.py::test_the_smallest_of_every_layer_go",
    ),
    "binarize": (
        "compress/_rounded.py", "size * used", "size",
        "tests/compress/test_binarize.py::test_an_output_has_so_many_values",
    ),
    "adapt": (
        "compress/_stand_ins.py", "norm.momentum = None", "norm.momentum = 0.0",
        "tests/compress/test_adapt.py::test_norms_keep_mean_and_spread_of_each_channel",
    ),
    "prune_trees": (
        "graph/_leaves.py", "own <= below", "own >= below",
        "tests/graph/test_prune_trees.py::test_the_weakest_branch_goes_first",
    ),
    "early_exit": (
        "exits.py", "<= max_drop + ROUNDED", "<= 1.0 + ROUNDED",
        "tests/compress/test_early_exit.py::test_the_lowest_threshold_is_found_that_loses_no_more",
    ),
    "skip_channels": (
        "compress/_gates.py", "salient >= edge", "salient <= edge",
        "tests/compress/test_skip_channels.py::test_the_least_salient_are_silent_for_each_input",
    ),
    "nas": (
        "compress/_halving.py", "-pair[0]", "pair[0]",
        "tests/compress/test_nas.py::test_the_better_half_goes_on_and_a_killed_search_too",
    ),
    "shrink_input": (
        "compress/_images.py", "sum(1, keepdim", "mean(1, keepdim",
        "tests/compress/test_shrink_input.py::test_grey_costs_nothing_where_there_is_no_colour",
    ),
    "simplify": (
        "graph/simplify.py", "_own_biases(graph)\n    opt", "opt",
        "tests/graph/test_simplify.py::test_batch_norm_is_folded_where_exporters_merged_equal_biases",
    ),
    "quantize": (
        "graph/quantize.py", "np.linspace(0, len(data) - 1,", "np.linspace(0, 0,",
        "tests/graph/test_quantize.py::test_calibration_samples_are_spread_and_read_a_call_at_a_time",
    ),
    "half": (
        "graph/half.py", "<= _LARGEST", "<= np.inf",
        "tests/graph/test_half.py::test_nothing_to_halve_is_said",
    ),
    "split": (
        "graph/_frames.py", "if apart and self._follows(name, time, merged):", "if apart:",
        "tests/graph/test_split.py::test_two_stages_answer_as_the_whole[Attentive-heavy2]",
    ),
}  # fmt: skip


def test_every_technique_has_one() -> None:
    assert FAULTS.keys() == find.techniques().keys()


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    root = tmp_path_factory.mktemp("copy")
    return root, plant(root, {})


def passes(root: Path, environment: dict[str, str], test: str) -> bool:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test]
    ended = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert ended.returncode in (0, 1), ended.stdout + ended.stderr  # anything else ran no test
    return ended.returncode == 0


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_seen(name: str, copy: tuple[Path, dict[str, str]]) -> None:
    root, environment = copy
    place, good, fault, test = FAULTS[name]
    file = root / "src" / "hasten" / place
    text = file.read_text()
    assert good in text
    file.write_text(text.replace(good, fault))
    try:
        assert not passes(root, environment, test)
    finally:
        file.write_text(text)
    shutil.rmtree(root / ".hypothesis", ignore_errors=True)


def test_without_a_fault_they_are_green(copy: tuple[Path, dict[str, str]]) -> None:
    root, environment = copy
    assert os.environ.get("PYTHONPATH") != environment["PYTHONPATH"]
    tests = [test for _, _, _, test in FAULTS.values()]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    ended = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout[-3000:]
