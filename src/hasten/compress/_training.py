"""The one training loop."""

import copy
import hashlib
import itertools
import marshal
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import broadcast_object_list
from torch import nn

from hasten import files
from hasten.compress._learner import Hint, Learner, OnDevice, softened
from hasten.compress._teacher import answers_of, sample_wise, taught
from hasten.engines.torch import named
from hasten.errors import InputError
from hasten.model import TorchModel
from hasten.neighbours import code

if TYPE_CHECKING:
    from hasten.compress.heal import Heal
    from hasten.task import Task

WARM_UP = 0.1  # of all steps
STEEPEST = 1.0  # the longest gradient that is followed
DECAY = 1e-2  # of weights
TRIED = 3  # steps from which the fastest way to compute is told
CHOICES = ("top1", "top5", "agreement")  # metrics of a choice between classes


@dataclass(frozen=True)
class Way:
    """How a step is computed."""

    bf16: bool
    channels_last: bool


class Training:
    """One training; what it keeps on disk after each epoch is enough to go on."""

    def __init__(
        self, model: TorchModel, task: "Task", how: "Heal", hint: Hint | None, teachers: tuple[TorchModel, ...]
    ) -> None:
        self.model, self.task, self.how, self.teachers = model, task, how, teachers
        self.data = task.split("train")
        self.given = task.origin or task  # as the teachers see it
        self.labelled = task.loss is not None and self.data.target is not None
        self.share = how.teacher if self.labelled else 1.0
        if not self.labelled and not how.teacher:
            raise InputError(
                f"{how} has nothing to learn from: the task has no loss, or its train data no target",
                "give Task(..., loss=...) and labels, or let teacher be above 0",
            )
        unused = DistributedDataParallelKwargs(find_unused_parameters=True)
        self.accelerator = Accelerator(cpu=not torch.cuda.is_available(), kwargs_handlers=[unused])
        processes: int = self.accelerator.num_processes
        per_process = -(-how.batch // processes) if model.signature.batch else model.signature.fixed_batch
        self.batch = per_process * processes
        self.rounds = max(1, len(self.data) // self.batch)  # steps an epoch
        self.history: list[dict[str, float]] = []
        with _seeded(how.seed):
            both = Learner(copy.deepcopy(model.module), hint)
            optimizer = torch.optim.AdamW(both.parameters(), how.lr, weight_decay=DECAY)
            self.net, self.optimizer = self.accelerator.prepare(both, optimizer)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer.optimizer, self._rate)
        self.way = Way(how.precision == "bf16", channels_last=False)
        self.state = files.cache_folder() / "training" / f"{self._key(hint)}.pt"
        with self.accelerator.main_process_first():
            self.targets = [taught(t, self.given.split("train")) for t in self._all_teachers()] if self.share else []

    def best(self) -> nn.Module:
        """The network of the best epoch, in eval mode, on the CPU.

        Raises:
            InputError: the loss is no longer a number.
        """
        with _seeded(self.how.seed):
            best = self._resumed()
            if not self.history:
                self.way = self._fastest()
            while len(self.history) < self.how.epochs and not self._has_stopped():
                began, lost = time.monotonic(), self._epoch()
                score = self._score()
                if score > max((e["score"] for e in self.history), default=-math.inf):
                    best = _on_cpu(self._network().state_dict())
                self.history.append({"loss": lost, "score": score, "seconds": time.monotonic() - began})
                self._keep(best)
        made = copy.deepcopy(self.model.module)
        made.load_state_dict(best)
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            self.state.unlink(missing_ok=True)
        return made.eval()

    def _epoch(self) -> float:
        """The mean loss of a walk over the samples, whose order depends on seed and epoch alone.

        Steps are of one size: what is left over has its turn in another epoch; few samples are repeated to fill one.
        """
        self.net.train()
        lost: float = 0.0
        epoch = len(self.history)
        torch.manual_seed(self.how.seed + epoch)  # of dropout
        order = np.random.default_rng((self.how.seed, epoch)).permutation(len(self.data))
        for rows in np.resize(order, (self.rounds, self.batch)):
            loss = self._loss(rows[self.accelerator.process_index :: self.accelerator.num_processes])
            self.optimizer.zero_grad()
            self.accelerator.backward(loss)
            self.accelerator.clip_grad_norm_(self.net.parameters(), STEEPEST)
            self.optimizer.step()
            self.schedule.step()
            lost += float(loss.detach())
        if not math.isfinite(lost):
            raise InputError(f"{self.how} diverges: the loss is {lost}", f"lower the rate: lr={self.how.lr / 4:g}")
        return lost / self.rounds

    def _loss(self, rows: np.ndarray) -> torch.Tensor:
        """Of the samples `rows`, i64 [B]."""
        rows = np.sort(rows)  # as they lie in memory
        feed = [self._tensor(self.data.inputs[t.name][rows]) for t in self.model.signature.inputs]
        with self._computing():
            made: tuple[Any, torch.Tensor] = self.net(feed)
        answer, total = made
        outputs = {name: value.float() if value.is_floating_point() else value for name, value in named(answer).items()}
        if self.share < 1:
            assert self.task.loss is not None
            assert self.data.target is not None
            total = total + (1 - self.share) * self.task.loss(outputs, self._tensor(self.data.target[rows]))
        for target in self.targets:
            total = total + self.share / len(self.targets) * self._distance(outputs, target, rows)
        return total

    def _distance(
        self, outputs: Mapping[str, torch.Tensor], target: Mapping[str, np.ndarray], rows: np.ndarray
    ) -> torch.Tensor:
        """To a teacher's answers, the mean over all outputs of floats."""
        terms = []
        for name, wanted in target.items():
            mine = outputs[name]
            if not mine.is_floating_point():
                continue
            his = self._tensor(wanted[rows]).float()
            if name == next(iter(outputs)) and self.task.measure.name in CHOICES and mine.ndim > 1:
                terms.append(softened(mine, his, self.how.temperature))
            else:
                terms.append(nn.functional.mse_loss(mine, his) / his.var().clamp_min(1e-6))
        if not terms:
            raise InputError("the original answers with whole numbers alone", "let teacher=0, and give a loss")
        return torch.stack(terms).mean()

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(array)).to(self.accelerator.device)
        if self.way.channels_last and tensor.ndim == 4:
            return tensor.contiguous(memory_format=torch.channels_last)
        return tensor

    def _computing(self) -> Any:
        return torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=self.way.bf16)

    def _rate(self, step: int) -> float:
        """Share of the highest rate."""
        steps = self.how.epochs * self.rounds
        warm = max(1.0, WARM_UP * steps)
        if step < warm:
            return (step + 1) / (warm + 1)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1.0, steps - warm))))

    def _score(self) -> float:
        """On validate; higher is better."""
        data, metric = self.task.split("validate"), self.task.measure
        with self._computing():
            answers = answers_of(replace(self.model, module=OnDevice(self._network(), self._tensor)), data)
        if data.target is None or metric.reference:
            first = sample_wise(self.model)[0]
            target = taught(self._original(), self.given.split("validate"))[first]
        else:
            target = data.target
        outputs = {name: a.astype(np.float32) if a.dtype.kind == "f" else a for name, a in answers.items()}
        total = float(metric.total(metric.rows(outputs, target)))
        return total if metric.higher_is_better else -total

    def _all_teachers(self) -> tuple[TorchModel, ...]:
        return self.teachers or (self._original(),)

    def _original(self) -> TorchModel:
        original = self.task.original
        if not isinstance(original, TorchModel):
            raise InputError("the original is an ONNX file, and training takes a torch module", "give a task file")
        return original

    def _network(self) -> nn.Module:
        """As the user built it, without what was put around it."""
        learner = self.accelerator.unwrap_model(self.net)
        assert isinstance(learner, Learner)
        return learner.net.eval()

    def _has_stopped(self) -> bool:
        scores = [e["score"] for e in self.history]
        patience = self.how.patience
        return len(scores) > patience and max(scores[-patience:]) <= max(scores[:-patience])

    def _fastest(self) -> Way:
        """From a few steps in each way that is allowed, whose gradients are thrown away; all processes take one."""
        images = any(len(t.shape) == 4 for t in self.model.signature.inputs)
        plain, half = Way(bf16=False, channels_last=False), Way(bf16=True, channels_last=images)
        ways = {"auto": [plain, half, Way(False, images)], "f32": [plain], "bf16": [half]}[self.how.precision]
        ways = list(dict.fromkeys(ways))
        if len(ways) > 1:
            kept = copy.deepcopy(self.net.state_dict())
            took = dict.fromkeys(ways, math.inf)
            self.net.train()
            rows = np.resize(np.arange(len(self.data)), self.batch // self.accelerator.num_processes)
            for turn, self.way in itertools.product(range(TRIED + 1), ways):
                self._lay_out()
                began = time.perf_counter()
                self.accelerator.backward(self._loss(rows))
                took[self.way] = min(took[self.way], time.perf_counter() - began) if turn else math.inf
            self.optimizer.zero_grad()
            self.net.load_state_dict(kept)
            ways = sorted(ways, key=took.__getitem__)
        chosen: list[Way] = broadcast_object_list(ways[:1])
        self.way = chosen[0]
        self._lay_out()
        return self.way

    def _lay_out(self) -> None:
        wanted = torch.channels_last if self.way.channels_last else torch.contiguous_format
        self._network().to(memory_format=wanted)  # type: ignore[call-overload]
        self.net.train()

    def _key(self, hint: Hint | None) -> str:
        """What a training that was interrupted must have in common with the one that goes on."""
        parts: list[Any] = [
            self.model.digest(),
            self.model.module,
            self.how,
            self.data.digest(),
            self.task.split("validate").digest(),
            self.task.measure.name,
            [t.digest() for t in self._all_teachers()] if self.share else [],
            hint and (hint.layers, hint.module),
            code(self.given.source) if self.given.source else marshal.dumps(getattr(self.task.loss, "__code__", None)),
        ]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]

    def _keep(self, best: Mapping[str, torch.Tensor]) -> None:
        if self.accelerator.is_main_process:
            whole = {
                "net": _on_cpu(self.accelerator.unwrap_model(self.net).state_dict()),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "history": self.history,
                "best": dict(best),
                "way": [self.way.bf16, self.way.channels_last],
            }
            files.write(self.state, lambda path: torch.save(whole, path))

    def _resumed(self) -> Mapping[str, torch.Tensor]:
        """The best weights so far; history, optimizer and network are as they were when the last epoch ended."""
        best: Mapping[str, torch.Tensor] = _on_cpu(self.model.module.state_dict())
        if not self.state.exists():
            return best
        whole: dict[str, Any]
        try:
            whole = torch.load(self.state, weights_only=True)
            self.accelerator.unwrap_model(self.net).load_state_dict(whole["net"])
            self.optimizer.load_state_dict(whole["optimizer"])
            self.schedule.load_state_dict(whole["schedule"])
        except Exception as fault:  # torch has several for a file that was cut off
            raise InputError(f"{self.state} cannot be gone on with ({type(fault).__name__})", "remove it") from fault
        self.history, self.way, best = whole["history"], Way(*whole["way"]), whole["best"]
        self._lay_out()
        return best


def _on_cpu(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.detach().to("cpu", copy=True) for name, value in state.items()}


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The same numbers each time, and none taken from the caller's own generator."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield
