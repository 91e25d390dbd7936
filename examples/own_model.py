"""Your own PyTorch model, profiled as it is. Nothing here knows of fwprof.

    fwprof profile --model examples/own_model.py:make --plugin torch
    fwprof profile --model examples/own_model.py:make --plugin torch --set model.width=512

The factory returns a dict: the model, its optimizer, its batches and its loss.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Classifier(nn.Module):
    """A small convolutional network for 28 × 28 grey images."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten()
        )
        self.head = nn.Sequential(nn.Linear(8 * 14 * 14, width), nn.ReLU(), nn.Linear(width, 10))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images))


def make(width: int = 64, batch_size: int = 32) -> dict[str, object]:
    """Return what is to be profiled. The data is random here: put your own in its place."""
    model = Classifier(width)
    data = TensorDataset(torch.randn(1024, 1, 28, 28), torch.randint(0, 10, (1024,)))
    return {
        "model": model,
        "optimizer": torch.optim.AdamW(model.parameters(), lr=1e-3),
        "batches": DataLoader(data, batch_size=batch_size, shuffle=True),
        "loss": nn.CrossEntropyLoss(),
    }
