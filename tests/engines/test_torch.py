"""The baseline engine: how outputs are named, and that the model stays as it was."""

import warnings

import numpy as np
import pytest
import torch

from hasten.engines.torch import Torch, call
from hasten.errors import InputError
from hasten.model import TorchModel
from hasten.task import Task

X = {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}


class Answers(torch.nn.Module):
    def __init__(self, answer: object) -> None:
        super().__init__()
        self.answer = answer
        self.weight = torch.nn.Parameter(torch.ones(3))

    def forward(self, x: torch.Tensor) -> object:
        return self.answer(x) if callable(self.answer) else self.answer


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        (lambda x: x, ["output"]),
        (lambda x: (x, x + 1), ["output0", "output1"]),
        (lambda x: [x], ["output0"]),
        (lambda x: {"boxes": x, "scores": x[:, 0]}, ["boxes", "scores"]),
    ],
)
def test_names_of_outputs(answer: object, names: list[str]) -> None:
    assert list(call(Answers(answer), X)) == names


@pytest.mark.parametrize("answer", ["text", None, lambda x: (x, None), lambda x: {"inner": [x]}])
def test_anything_but_tensors_is_refused(answer: object) -> None:
    with pytest.raises(InputError, match="answer with a tensor"):
        call(Answers(answer), X)


def test_inputs_go_in_by_position_and_a_parameter_may_come_out() -> None:
    class Minus(torch.nn.Module):
        def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
            return left - right

    np.testing.assert_array_equal(call(Minus(), {"b": X["x"], "a": X["x"] * 3})["output"], X["x"] * -2)
    module = Answers(lambda x: module.weight)
    np.testing.assert_array_equal(call(module, X)["output"], np.ones(3))


def test_session_orders_inputs_as_the_signature_does() -> None:
    class Minus(torch.nn.Module):
        def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
            return left - right

    model = TorchModel.of(Minus(), {"left": X["x"], "right": X["x"]})
    with Torch().compile(model) as session:
        np.testing.assert_array_equal(session({"right": X["x"], "left": X["x"] * 3})["output"], X["x"] * 2)


def test_read_only_input_passes_without_a_warning() -> None:
    frozen = X["x"].copy()
    frozen.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(call(Answers(lambda x: x * 2), {"x": frozen})["output"], frozen * 2)


def test_channels_last_works_on_a_copy(tiny_task: Task) -> None:
    model = tiny_task.original
    before, strides = model.digest(), model.module.body.weight.stride()
    seen: list[torch.Tensor] = []
    with Torch(memory_format="channels_last").compile(model) as session:
        assert session.compiled._module.body.weight.is_contiguous(memory_format=torch.channels_last)
        session.compiled._module.body.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        session(next(tiny_task.sample().batches(2)))
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert not seen[0].is_contiguous()
    assert (model.digest(), model.module.body.weight.stride()) == (before, strides)


def test_sessions_with_other_threads_take_turns_and_give_them_back(tiny_task: Task) -> None:
    before, feed = torch.get_num_threads(), next(tiny_task.sample().batches(1))
    try:
        torch.set_num_threads(3)
        with Torch(threads=1).compile(tiny_task.original) as one, Torch(threads=2).compile(tiny_task.original) as two:
            for session, threads in ((one, 1), (two, 2), (one, 1)):
                session(feed)
                assert torch.get_num_threads() == threads
        assert torch.get_num_threads() == 3, "who trains beside a session trains with its own threads"
        call(tiny_task.original.module, feed)
        assert torch.get_num_threads() == 3, "a bare call leaves the process as it is"
    finally:
        torch.set_num_threads(before)


def test_inference_leaves_no_graph_behind() -> None:
    kept: list[torch.Tensor] = []
    module = Answers(lambda x: kept.append(x @ module.weight) or kept[0])
    call(module, X)
    assert not kept[0].requires_grad
