"""A small vision transformer (Dosovitskiy et al. 2021, arXiv:2010.11929), 205,000 parameters."""

import torch
from common import fashion
from torch import nn
from torch.nn import functional

SIDE, WIDTH, HEADS = 4, 64, 4  # of a patch in pixels; of a token; of the attention


class Layer(nn.Module):
    """Attention and two linear layers, each behind a norm and beside a skip; [N, tokens, 64] -> the same."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.out = nn.Linear(WIDTH, WIDTH)
        self.widen, self.narrow = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm1(x)
        query, key, value = (
            part.reshape(-1, x.shape[1], HEADS, WIDTH // HEADS).transpose(1, 2)
            for part in (self.query(y), self.key(y), self.value(y))
        )
        y = functional.scaled_dot_product_attention(query, key, value)
        x = x + self.out(y.transpose(1, 2).reshape(-1, x.shape[1], WIDTH))
        return x + self.narrow(functional.gelu(self.widen(self.norm2(x))))


class Transformer(nn.Module):
    """Image f32 [N, 1, 28, 28] -> logits f32 [N, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, WIDTH, SIDE, SIDE)
        self.places = nn.Parameter(torch.randn(1, (28 // SIDE) ** 2, WIDTH) / 50)
        self.layers = nn.Sequential(*(Layer() for _ in range(4)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.patches(image).flatten(2).transpose(1, 2) + self.places
        return self.head(self.norm(self.layers(x)).mean(1))


task = fashion("transformer", Transformer)
