"""The channels of a network: which go together, how much each matters, and the network without some of them."""

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import torch_pruning
from torch import nn

from hasten.engines.torch import call, named
from hasten.model import TorchModel

if TYPE_CHECKING:
    from hasten.task import Task

BATCHES, BATCH = 8, 64  # of training data, from which gradients are taken
ALIKE = {"float64": 1e-9, "float32": 1e-5}  # of the largest answer: sums in another order, and nothing more
COARSE = 1e-2  # where the answers themselves are in 16 bits
FOLLOWED = (nn.modules.conv._ConvNd, nn.Linear)
LAYERS = (*FOLLOWED, nn.modules.rnn.RNNBase, nn.MultiheadAttention, nn.Embedding)

Importance = Literal["l1", "l2", "bn", "taylor", "random"]
Gone = Mapping[str, Sequence[int]]  # name of a group's first layer -> channels that go


class Channels:
    """The groups of layers of a network that lose channels together, by the name of the first.

    Attributes:
        sizes: the number of channels of each group.
        fixed: name of a layer -> why none of its channels can go.
    """

    def __init__(self, model: TorchModel, task: "Task") -> None:
        self.model = model
        data, size = task.sample(), 2 if model.signature.batch else model.signature.fixed_batch
        inputs = {t.name: data.inputs[t.name] for t in model.signature.inputs}
        self._feed = {name: np.ascontiguousarray(np.resize(a, (size, *a.shape[1:]))) for name, a in inputs.items()}
        self._module, self._graph = self._traced()
        self._groups: dict[str, Any] = {}
        self.fixed: dict[str, str] = {}
        seen: set[str] = set()
        for name, layer in self._module.named_modules():
            if not isinstance(layer, LAYERS) or name in seen:
                continue
            group = self._group(layer)
            seen |= {name} if group is None else self._made_in(group)
            if reason := self._why_fixed(layer, group):
                self.fixed[name] = reason
            else:
                self._groups[name] = group
        self.sizes = {name: len(group[0].idxs) for name, group in self._groups.items()}

    def scores(self, importance: Importance, task: "Task", seed: int) -> dict[str, np.ndarray]:
        """How much each channel of each group matters, f64 [C], the mean of a group being 1."""
        kinds = torch_pruning.importance
        if importance == "taylor":
            self._follow_the_loss(task)
        judge = {
            "l1": lambda: kinds.GroupMagnitudeImportance(p=1),
            "l2": lambda: kinds.GroupMagnitudeImportance(p=2),
            "bn": kinds.BNScaleImportance,
            "taylor": kinds.GroupTaylorImportance,
            "random": kinds.RandomImportance,
        }[importance]()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            given = {name: _judged(judge, group) for name, group in self._groups.items()}
        return {name: s for name, s in given.items() if s is not None and s.shape == (self.sizes[name],)}

    def without(self, gone: Gone) -> nn.Module:
        """A copy of the network that has lost these channels."""
        module, graph = self._traced()
        for name, channels in gone.items():
            layer = module.get_submodule(name)
            start = graph.get_pruner_of_module(layer).prune_out_channels
            graph.get_pruning_group(layer, start, list(channels)).prune()
        return module.eval()

    def removable(self, gone: Gone) -> bool:
        """Whether the network without these channels answers as the one in which nobody listens to them.

        That is so where every layer that hears them is known and loses the same ones. It is not where the numbers of
        channels are written into forward, or where a norm over all channels mixes those that go into those that stay.
        """
        try:
            self.model.signature.check(call(self.without(gone), self._feed), "outputs")
            made, wanted = self._exactly(self.without(gone)), self._exactly(self._deaf_to(gone))
        except Exception:  # a network that is cut in the wrong place raises whatever it pleases
            return False
        precise = next((a.dtype for a in wanted.values() if a.dtype.kind == "f"), np.dtype(np.float32))
        return all(
            np.abs(made[name].astype(np.float64) - wanted[name]).max(initial=0)
            <= ALIKE.get(precise.name, COARSE) * np.abs(wanted[name]).max(initial=0)
            for name in wanted
        )

    def _exactly(self, module: nn.Module) -> dict[str, np.ndarray]:
        """The answers in double precision, where forward does not insist on another."""
        double = {name: a.astype(np.float64) if a.dtype.kind == "f" else a for name, a in self._feed.items()}
        try:
            return call(copy.deepcopy(module).double(), double)
        except RuntimeError:  # of types that do not go together
            return call(module, self._feed)

    def _deaf_to(self, gone: Gone) -> nn.Module:
        """A copy of the network in which the weights that multiply these channels are zero."""
        module, graph = self._traced()
        with torch.no_grad():
            for name, channels in gone.items():
                layer = module.get_submodule(name)
                start = graph.get_pruner_of_module(layer).prune_out_channels
                for part, which in graph.get_pruning_group(layer, start, list(channels)):
                    hears = graph.is_in_channel_pruning_fn(part.handler) and isinstance(part.target.module, FOLLOWED)
                    if (
                        hears and getattr(part.target.module, "groups", 1) == 1
                    ):  # depthwise ones are silenced further on
                        transposed = isinstance(part.target.module, nn.modules.conv._ConvTransposeNd)
                        part.target.module.weight.transpose(0, int(not transposed))[list(which)] = 0
        return module.eval()

    def _group(self, layer: nn.Module) -> Any:
        """All that the channels of a layer reach; None where the package cannot follow them."""
        if not isinstance(layer, FOLLOWED) or layer not in self._graph.module2node:
            return None
        start = self._graph.get_pruner_of_module(layer)
        try:
            return self._graph.get_pruning_group(
                layer, start.prune_out_channels, [*range(start.get_out_channels(layer))]
            )
        except Exception:  # of operators that it does not know it has several
            return None

    def _why_fixed(self, layer: nn.Module, group: Any) -> str | None:
        if group is None:
            return f"nobody can tell where the channels of this {type(layer).__name__} go"
        parts = [part.target for part, _ in group]
        if any(not p.target.outputs and self._graph.is_out_channel_pruning_fn(p.handler) for p, _ in group):
            return "its channels are outputs of the network"
        if any(1 < getattr(p.module, "groups", 1) < getattr(p.module, "out_channels", 1) for p in parts):
            return "its channels are convolved in groups"
        return None

    def _made_in(self, group: Any) -> set[str]:
        """The layers whose own channels the group holds."""
        names, is_made = self._graph._module2name, self._graph.is_out_channel_pruning_fn
        return {names[p.target.module] for p, _ in group if p.target.module in names and is_made(p.handler)}

    def _follow_the_loss(self, task: "Task") -> None:
        """Gradients over a few batches: of the task's loss, or of how far the answers are from zero."""
        data = task.split("train")
        size = BATCH if self.model.signature.batch else self.model.signature.fixed_batch
        for start in range(0, max(1, min(BATCHES * size, len(data) - size + 1)), size):
            rows = np.arange(start, start + size) % len(data)
            outputs = named(self._module(*(torch.from_numpy(data.inputs[name][rows]) for name in self._feed)))
            if task.loss is not None and data.target is not None:
                loss = task.loss(outputs, torch.from_numpy(data.target[rows]))
            else:
                loss = torch.stack([o.float().square().mean() for o in outputs.values() if o.is_floating_point()]).sum()
            loss.backward()

    def _traced(self) -> tuple[nn.Module, Any]:
        module = copy.deepcopy(self.model.module).eval()
        for parameter in module.parameters():
            parameter.requires_grad_(True)
        inputs = tuple(torch.from_numpy(a) for a in self._feed.values())
        graph = torch_pruning.DependencyGraph().build_dependency(
            module, inputs, forward_fn=lambda net, given: net(*given), output_transform=_with_gradients, verbose=False
        )
        return module, graph


def _judged(judge: Any, group: Any) -> np.ndarray | None:
    """The scores of a group; None where the package has none, or trips over how its channels are cut up."""
    try:
        score = judge(group)
    except (IndexError, RuntimeError, AttributeError):
        return None
    return None if score is None else np.asarray(score.detach().numpy(), np.float64)


def _with_gradients(answer: Any) -> list[torch.Tensor]:
    """What of an answer can be followed back, by which the graph is traced."""
    return [o for o in named(answer).values() if o.is_floating_point() and o.grad_fn is not None]
