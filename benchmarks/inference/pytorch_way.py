"""The folded network in PyTorch; its interpreter needs torch and NumPy only."""

from collections.abc import Callable

import numpy as np
import torch
from serve import check, draw_inputs, read_layers, serve, settings
from torch import nn

GIVEN = settings()


class Heads(nn.Module):
    """Softmax inside the layers' voxels and over the layers' fractions, ReLU on the total."""

    def __init__(self, layer_sizes: list[int]) -> None:
        super().__init__()
        self.sizes = [*layer_sizes, len(layer_sizes), 1]

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Gives fractions and total, `[n, v + l + 1]`."""
        *parts, total = torch.split(values, self.sizes, dim=1)
        return torch.cat([*(torch.softmax(part, dim=1) for part in parts), torch.relu(total)], dim=1)


def make(network: str, showers: int) -> Callable[[], object]:
    """Makes a call of the network in PyTorch."""
    layers, layer_sizes = read_layers(GIVEN.folder, network)
    parts: list[nn.Module] = []
    for kernel, bias, activation in layers:
        dense = nn.Linear(*kernel.shape)
        dense.weight.data, dense.bias.data = torch.from_numpy(kernel.T.copy()), torch.from_numpy(bias)
        parts += [dense, *{"swish": [nn.SiLU()], "rectified": [nn.ReLU()], "linear": []}[activation]]
    model, inputs = nn.Sequential(*parts, Heads(layer_sizes)).eval(), draw_inputs(layers, showers)

    def compute(values: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model(torch.from_numpy(values)).numpy()

    check(GIVEN.folder, network, compute)
    return lambda: compute(inputs)


if __name__ == "__main__":
    torch.set_num_threads(GIVEN.threads)
    serve(make, [(network, showers) for network, showers in GIVEN.tasks])
