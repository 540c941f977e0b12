"""A GRU (Cho et al. 2014, arXiv:1406.1078) that reads an image row by row, 55,000 parameters."""

import torch
from common import fashion
from torch import nn


class Recurrent(nn.Module):
    """Image f32 [N, 1, 28, 28] -> logits f32 [N, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.row = nn.Linear(28, 64)
        self.reader = nn.GRU(64, 96, batch_first=True)
        self.hidden, self.head = nn.Linear(96, 64), nn.Linear(64, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        read, _ = self.reader(torch.relu(self.row(image[:, 0])))
        return self.head(torch.relu(self.hidden(read[:, -1])))


task = fashion("recurrent", Recurrent)
