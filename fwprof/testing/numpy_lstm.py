"""One LSTM layer in NumPy, forward and backward through time, in any float type.

Owns the formulas of the layer. Knows no other layer, no loss and no names of parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


def sigmoid(inputs: Array) -> Array:
    """Return 1/(1 + e^−x)."""
    outputs: Array = 1 / (1 + np.exp(-inputs))
    return outputs


def run_lstm(
    inputs: Array, kernel: Array, recurrent_kernel: Array, bias: Array
) -> tuple[Array, Callable[[Array], tuple[Array, Array, Array, Array]]]:
    """Return every output, and what pulls their gradient back.

    Args:
        inputs: (batch, length, channels).
        kernel: (channels, 4·units), gates in the order i, f, g, o.
        recurrent_kernel: (units, 4·units).
        bias: (4·units,).

    Returns:
        The outputs (batch, length, units), and a function of their gradient that returns the gradients
        of inputs, kernel, recurrent kernel and bias.

    Source: as `fwprof.records.workload.Lstm` writes it; backward through time, Werbos 1990.
    """
    batch, length, _ = inputs.shape
    output = cell = np.zeros((batch, len(recurrent_kernel)), inputs.dtype)
    outputs, cells, gates = [output], [cell], []
    for position in range(length):
        sums = inputs[:, position] @ kernel + output @ recurrent_kernel + bias
        i, f, g, o = np.split(sums, 4, axis=1)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        gates.append((i, f, g, o))
        cell = f * cell + i * g
        output = o * np.tanh(cell)
        outputs.append(output)
        cells.append(cell)

    def pull(upstream: Array) -> tuple[Array, Array, Array, Array]:
        to_inputs, to_kernel = np.zeros_like(inputs), np.zeros_like(kernel)
        to_recurrent, to_bias = np.zeros_like(recurrent_kernel), np.zeros_like(bias)
        to_output = to_cell = np.zeros_like(output)
        for position in reversed(range(length)):
            i, f, g, o = gates[position]
            lid = np.tanh(cells[position + 1])
            to_output = to_output + upstream[:, position]
            to_cell = to_cell + to_output * o * (1 - lid * lid)
            to_sums = np.concatenate(
                (
                    to_cell * g * i * (1 - i),
                    to_cell * cells[position] * f * (1 - f),
                    to_cell * i * (1 - g * g),
                    to_output * lid * o * (1 - o),
                ),
                axis=1,
            )
            to_kernel += inputs[:, position].T @ to_sums
            to_recurrent += outputs[position].T @ to_sums
            to_bias += to_sums.sum(axis=0)
            to_inputs[:, position] = to_sums @ kernel.T
            to_output = to_sums @ recurrent_kernel.T
            to_cell = to_cell * f
        return to_inputs, to_kernel, to_recurrent, to_bias

    return np.stack(outputs[1:], axis=1), pull
