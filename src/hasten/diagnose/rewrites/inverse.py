"""inverse: matrices are inverted, and systems solved, by elimination, one step a column.

What breaks (torch 2.13): ONNX has no inverse. dynamo finds no function for aten.linalg_inv_ex and
aten._linalg_solve_ex, the older exporter none for aten::linalg_inv. Instead: Gauss and Jordan with the largest pivot
of each column, unrolled, which is what LAPACK computes up to the order of sums (Golub and Van Loan 2013, Matrix
Computations, 3.4). A singular matrix gives infinities in place of an exception. For up to 64 rows: the graph has some
twenty nodes for each.
"""

from typing import Any

import torch
from torch import nn

from hasten.compress._calls import Run, answered, declined

SAYS = "inverts matrices and solves systems by elimination, unrolled"
MOST = 64  # rows


def rewritten(module: nn.Module, run: Run) -> nn.Module:
    """
    Raises:
        NotApplicable: nothing is inverted or solved.
    """
    inverses = torch.linalg.inv, torch.inverse, torch.Tensor.inverse
    return answered(module, run, {**dict.fromkeys(inverses, inverse), torch.linalg.solve: solve}, "inv or solve")


def inverse(matrix: torch.Tensor, **options: Any) -> torch.Tensor:
    """[..., n, n] -> the same."""
    if options or not 0 < matrix.shape[-1] <= MOST:
        return declined()
    one = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    return _eliminated(matrix, one.expand(matrix.shape))


def solve(matrix: torch.Tensor, right: torch.Tensor, *, left: bool = True, **options: Any) -> torch.Tensor:
    """[..., n, n], [..., n, k] or [..., n] -> what, multiplied with the matrix, gives `right`."""
    if options or not left or not 0 < matrix.shape[-1] <= MOST:
        return declined()
    if right.ndim == 1 or right.shape == matrix.shape[:-1]:
        return _eliminated(matrix, right[..., None])[..., 0]
    return _eliminated(matrix, right)


def _eliminated(matrix: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    size = matrix.shape[-1]
    lead = torch.broadcast_shapes(matrix.shape[:-2], right.shape[:-2])  # type: ignore[no-untyped-call]
    rows = torch.cat([matrix.expand(*lead, *matrix.shape[-2:]), right.expand(*lead, *right.shape[-2:])], -1)
    for k in range(size):
        left, below = rows[..., :k, :], rows[..., k:, :]
        places = torch.arange(size - k, device=matrix.device)
        chosen = (places == below[..., k].abs().argmax(-1, keepdim=True))[..., None]
        pivot = torch.where(chosen, below, 0).sum(-2, keepdim=True)
        below = torch.where(chosen, below[..., :1, :], below)[..., 1:, :]  # the first row stands where the pivot stood
        pivot = pivot / pivot[..., k : k + 1]
        left, below = (part - part[..., k : k + 1] * pivot for part in (left, below))
        rows = torch.cat([left, pivot, below], -2)
    return rows[..., size:]
