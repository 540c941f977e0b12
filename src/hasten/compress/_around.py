"""A network with something around its parts, exported under the names of the network itself."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from hasten.export import export
from hasten.model import OnnxModel, TorchModel
from hasten.provenance import carry, inherited, renamed

if TYPE_CHECKING:
    from hasten.task import Task


def exported(made: TorchModel, model: TorchModel, task: "Task", bare: Callable[[str], str]) -> OnnxModel:
    """The graph of `made`, whose nodes name modules of `model`: what is new names the one in front of it.

    Args:
        bare: from a name of a module or weight of `made` to that in `model`; itself where there is none.
    """
    own, graph = (export(m, task.sample()).model.proto for m in (model, made))
    return OnnxModel(inherited(carry(own, renamed(graph, bare))))
