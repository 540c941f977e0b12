"""cholesky: the triangular factor of a matrix, one step a column.

What breaks (torch 2.13): dynamo finds no function for aten.linalg_cholesky_ex, the older exporter none for
aten::linalg_cholesky. Instead: the columns one after the other, unrolled (Golub and Van Loan 2013, Matrix
Computations, 4.2). A matrix that is not positive definite gives NaN in place of an exception. For up to 64 rows.
"""

from typing import Any

import torch
from torch import nn

from hasten.compress._calls import Run, answered, declined

SAYS = "computes the Cholesky factor column by column, unrolled"
MOST = 64  # rows


def rewritten(module: nn.Module, run: Run) -> nn.Module:
    """
    Raises:
        NotApplicable: no matrix is factored.
    """
    plain = torch.linalg.cholesky, torch.cholesky, torch.Tensor.cholesky
    return answered(module, run, dict.fromkeys(plain, cholesky), "cholesky")


def cholesky(matrix: torch.Tensor, upper: bool = False, **options: Any) -> torch.Tensor:
    """[..., n, n], symmetric and positive definite -> the lower factor, or the upper one."""
    size = matrix.shape[-1]
    if options or not 0 < size <= MOST:
        return declined()
    columns: list[torch.Tensor] = []  # each [..., n, 1], zero above the diagonal
    places = torch.arange(size, device=matrix.device)[:, None]
    for j in range(size):
        rest = matrix[..., :, j : j + 1]
        for column in columns:
            rest = rest - column * column[..., j : j + 1, :]
        columns.append(torch.where(places >= j, rest / rest[..., j : j + 1, :].sqrt(), 0))
    lower = torch.cat(columns, -1)
    return lower.transpose(-2, -1) if upper else lower
