"""The tiny network of the tests, really trained, and its data."""

import numpy as np

from hasten.data import Data

CLASSES, SIDE = 4, 8


def tiny_data(n: int, seed: int) -> Data:
    """Quadrants, of which the label names the bright one. Input `image` f32 [n, 1, 8, 8], target int64 [n]."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, CLASSES, n)
    image = rng.normal(0, 0.3, (n, 1, SIDE, SIDE)).astype(np.float32)
    for i, label in enumerate(target):
        row, column = divmod(int(label), 2)
        image[i, 0, row * 4 : row * 4 + 4, column * 4 : column * 4 + 4] += 1
    return Data({"image": image}, target)


def tiny_module():
    """conv-bn-relu, conv-relu, pool to 2x2, linear: weights set so that it really tells the quadrants apart."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    net = nn.Sequential()
    net.add_module("stem", nn.Conv2d(1, 8, 3, padding=1, bias=False))
    net.add_module("norm", nn.BatchNorm2d(8))
    net.add_module("act", nn.ReLU())
    net.add_module("body", nn.Conv2d(8, 16, 3, padding=1))
    net.add_module("act2", nn.ReLU())
    net.add_module("pool", nn.AdaptiveAvgPool2d(2))
    net.add_module("flat", nn.Flatten())
    net.add_module("head", nn.Linear(64, CLASSES))
    net.train()
    data = tiny_data(256, 1)
    x, y = torch.from_numpy(data.inputs["image"]), torch.from_numpy(data.target)
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(30):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    return net.eval()
