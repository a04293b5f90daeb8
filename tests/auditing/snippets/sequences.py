"""Networks that read sequences, for backpropagation through time and through attention."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from tests.auditing.snippets.step import CLASSES, WIDTH


class Cell(nn.Module):
    """A recurrent network with a cell written by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs, self.again = nn.Linear(5, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.readout = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(len(x), WIDTH, dtype=x.dtype)
        for token in x.view(len(x), 4, 5).unbind(1):
            h = torch.tanh(self.inputs(token) + self.again(h))
        return cast(Tensor, self.readout(h))


class Gru(nn.Module):
    """A recurrent network with a GRU cell."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.readout = nn.GRUCell(5, WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(len(x), WIDTH, dtype=x.dtype)
        for token in x.view(len(x), 4, 5).unbind(1):
            h = self.cell(token, h)
        return cast(Tensor, self.readout(h))


class Lstm(nn.Module):
    """A recurrent network of two LSTM layers."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(5, WIDTH, num_layers=2, batch_first=True)
        self.readout = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.readout(self.lstm(x.view(len(x), 4, 5))[0][:, -1]))


class Multihead(nn.Module):
    """PyTorch's attention, which never calls its output projection."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 12)
        self.attention = nn.MultiheadAttention(12, 2, batch_first=True)
        self.readout = nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x.view(len(x), 4, 5))
        return cast(Tensor, self.readout(self.attention(h, h, h)[0].mean(1)))


class Attention(nn.Module):
    """Attention by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 12)
        self.query, self.key, self.value = (nn.Linear(12, 12) for _ in range(3))
        self.readout = nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x.view(len(x), 4, 5))
        logits = self.query(h) @ self.key(h).transpose(1, 2) / 12**0.5
        return cast(Tensor, self.readout((logits.softmax(2) @ self.value(h)).mean(1)))
