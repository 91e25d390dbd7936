"""Where training of the user's own model began, and the way back there in place."""

from __future__ import annotations

import os
from tempfile import mkstemp
from typing import TYPE_CHECKING

import keras
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class StartState:
    """The values of variables, kept in a file: a copy in memory would count as the model's.

    Args:
        variables: everything that a training step may move.
        folder: where to write the file.
    """

    def __init__(self, variables: Sequence[keras.Variable], folder: Path) -> None:
        self._variables = variables
        # A name of its own: several models of one process may share the folder.
        handle, self._path = mkstemp(prefix="start-", suffix=".npz", dir=folder)
        os.close(handle)
        values = {str(i): keras.ops.convert_to_numpy(v.value) for i, v in enumerate(variables)}
        np.savez(self._path, **values)

    def restore(self) -> None:
        """Set the variables to what they were."""
        with np.load(self._path) as saved:
            for number, variable in enumerate(self._variables):
                variable.assign(saved[str(number)])
