"""Networks as people write them that torch 2.13 cannot export: the line at fault ends with `# breaks`."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils import parametrizations

HERE = Path(__file__)


class Gate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.open, self.shut = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.mean() > 0.5:  # breaks
            return self.open(x)
        return self.shut(x)


class Gated(nn.Module):
    """One branch or the other, by the data."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Tanh()
        self.blocks = nn.ModuleList([nn.Sequential(nn.Dropout(0.1), nn.ReLU6()), Gate()])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return x


class Whitening(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        spread = x @ x.transpose(1, 2) / 6 + torch.eye(3)
        return torch.linalg.inv(spread) @ x  # breaks


class Whitened(nn.Module):
    """An inverse in the middle."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(3, 3, 1), Whitening(), nn.Flatten(), nn.Linear(18, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


class Rotated(nn.Module):
    """An orthogonal weight, computed anew in each call."""

    def __init__(self) -> None:
        super().__init__()
        self.rotate, self.head = parametrizations.orthogonal(nn.Linear(8, 8)), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.rotate(x)))  # breaks


class Spotted(nn.Module):
    """Pooling to a size that does not divide the image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool, self.head = nn.Conv2d(1, 4, 3), nn.AdaptiveMaxPool2d((3, 4)), nn.Linear(48, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.conv(x))  # breaks
        return self.head(x.flatten(1))


class Median(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        around = F.pad(x, (1, 1), mode="replicate").unfold(2, 3, 1)
        return around.median(-1).values  # breaks


class Despeckled(nn.Module):
    """A median filter in front."""

    def __init__(self) -> None:
        super().__init__()
        self.clean, self.conv = Median(), nn.Conv1d(2, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(self.clean(x)).mean(-1)


class Edges(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("edges", torch.linspace(-1.5, 1.5, 7))
        self.words = nn.Embedding(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        place = torch.searchsorted(self.edges, x)  # breaks
        return self.words(place)


class Binned(nn.Module):
    """Numbers looked up in bins."""

    def __init__(self) -> None:
        super().__init__()
        self.bins, self.head = Edges(), nn.Linear(32, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.bins(x).flatten(1))


class Segments(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        where = (x.abs() * 2).long().clamp(max=3)
        start = x.new_zeros(x.shape[0], 4)
        return start.scatter_reduce(1, where, x, "mean")  # breaks


class Segmented(nn.Module):
    """Means of segments: one exporter writes another graph, and says nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.head = Segments(), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.mean(x))


class Report(nn.Module):
    """Answers with more than tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.heads = nn.Linear(8, 8), nn.ModuleList([nn.Linear(8, 3), nn.Linear(8, 2)])

    def forward(self, x: torch.Tensor) -> dict[str, object]:
        x = torch.relu(self.body(x))
        return {"scores": [head(x) for head in self.heads], "features": x, "loss": None, "version": 2}


class Halve(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        while x.abs().max() > 1:  # breaks
            x = x / 2
        return x


class Halved(nn.Module):
    """A loop whose end depends on the data."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.head = Halve(), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(x))


class Centre(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - x.sum(0) / len(x)  # breaks


class Centred(nn.Module):
    """The number of samples becomes a constant, and nobody says so."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 8), Centre())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


class Each(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = []
        for i in range(x.shape[0]):
            rows.append(x[i] / x[i].norm())  # breaks
        return torch.stack(rows)


class Rowwise(nn.Module):
    """A loop over the samples, as many as were traced."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.head = Each(), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(x))


class Noisy(nn.Module):
    """Dropout that is always on."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(self.body(x), 0.5, training=True)  # breaks


@torch.library.custom_op("breaking::twice", mutates_args=())
def twice(x: torch.Tensor) -> torch.Tensor:
    return x * 2


@twice.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


class Own(nn.Module):
    """An operator that nobody else has."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return twice(self.body(x))  # breaks


@dataclass(frozen=True)
class Case:
    """What has to be said of a network, and what mends it."""

    net: type[nn.Module]
    shape: tuple[int, ...]
    module: str
    kind: str
    rewrite: str = ""  # none is known
    by_hand: str = ""  # a word of the remedy that is left then

    @property
    def line(self) -> int:
        """Of the class that is at fault, the one that is marked."""
        torch.manual_seed(0)
        part = self.net().get_submodule(self.module)
        own = type(part) if type(part).__module__ == __name__ else self.net
        lines = HERE.read_text().splitlines()
        start = next(i for i, line in enumerate(lines) if line.startswith(f"class {own.__name__}("))
        return next(i + 1 for i in range(start, len(lines)) if lines[i].endswith("# breaks"))

    def samples(self) -> dict[str, np.ndarray]:
        """The last third is another kind of data than what is traced."""
        drawn = np.random.default_rng(0).normal(size=(24, *self.shape)).astype(np.float32)
        drawn[16:] += 4
        return {"x": drawn}


OPERATOR = "an operator that ONNX has no form for"
CONTROL = "control flow that depends on data"
CASES = (
    Case(Gated, (8,), "blocks.1", CONTROL, "branches"),
    Case(Whitened, (3, 6), "body.1", OPERATOR, "inverse"),
    Case(Rotated, (8,), "rotate", OPERATOR, "baked"),
    Case(Spotted, (1, 10, 10), "pool", OPERATOR, "max_bins"),
    Case(Despeckled, (2, 9), "clean", OPERATOR, "ranked"),
    Case(Binned, (8,), "bins", OPERATOR, "counted"),
    Case(Segmented, (8,), "mean", OPERATOR, "scatter_mean"),
    Case(Halved, (8,), "norm", CONTROL, by_hand="torch.while_loop"),
    Case(Centred, (8,), "body.1", "a length that is free was written down", by_hand="x.shape[0]"),
    Case(Rowwise, (8,), "norm", "a length that is free was written down", by_hand="x.shape[0]"),
    Case(Noisy, (8,), "", "random numbers", by_hand="self.training"),
    Case(Own, (8,), "", "an operator of your own", by_hand="torch's operators"),
)
