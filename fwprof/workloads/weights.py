"""Makes or reads the canonical weights: the numbers every framework starts from.

Owns the initial values, in canonical layout. Knows no framework; plugins convert.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from hashlib import sha256
from math import prod, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fwprof.configuration import suggest
from fwprof.errors import RequestError, StoreError
from fwprof.records import ResolvedLayer, Workload
from fwprof.records import workload as kinds
from fwprof.workloads.language import parameter_shapes, state_shapes, walk
from fwprof.workloads.shapes import Shape

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TABLE_DEVIATION = 0.02
"""Standard deviation of embedding tables. Source: Devlin et al., BERT, 2019 (its reference code's
initializer_range)."""


def starting_weights(
    workload: Workload, layers: Sequence[ResolvedLayer], seed: int
) -> dict[str, NDArray[np.float32]]:
    """Return the weights of the file that the workload names, else those made from the seed.

    Raises:
        RequestError, StoreError: as `read_weights`.
    """
    if workload.weights is None:
        return canonical_weights(layers, seed)
    return read_weights(Path(workload.weights), layers)


def canonical_weights(layers: Sequence[ResolvedLayer], seed: int) -> dict[str, NDArray[np.float32]]:
    """Return parameters, then statistics and what is frozen, by canonical name, in layer order.

    A value depends on the seed, the name and the shape only: changing one layer leaves the others'
    numbers alone. Kernels are Glorot uniform, tables normal, biases, beta and moving means 0, gamma
    and moving variances 1. The kernels of an LSTM or GRU are Glorot uniform too, over all gates, the
    recurrent one as well: an orthogonal one would need a factorisation, whose last bits depend on
    the machine. An LSTM's forget gate's bias is 1. LoRA's first matrix is drawn as a table is, its
    second is 0: so the first step begins with what the frozen layer gives.

    Source: Glorot & Bengio, Understanding the difficulty of training deep feedforward neural
    networks, 2010, equation 16; the forget gate's bias: Jozefowicz, Zaremba & Sutskever, An
    Empirical Exploration of Recurrent Network Architectures, 2015; Hu et al., LoRA, 2021,
        section 4.1.
    """
    shapes = parameter_shapes(layers) | state_shapes(layers)
    weights = {name: _initial(name, shape, seed) for name, shape in shapes.items()}
    for layer in walk(layers):
        if isinstance(layer.layer, kinds.Lstm):
            units = layer.layer.units
            weights[f"{layer.path}.bias"][units : 2 * units] = 1
    return weights


def read_weights(path: Path, layers: Sequence[ResolvedLayer]) -> dict[str, NDArray[np.float32]]:
    """Return parameters, then statistics, of an .npz file, as float32. Nothing is ever unpickled.

    Raises:
        RequestError: a name is missing or unknown, a shape or type is wrong, or a number is not finite;
            names the tensor and both shapes.
        StoreError: the file cannot be read, or is damaged.
    """
    import numpy as np

    shapes = parameter_shapes(layers) | state_shapes(layers)
    try:
        with path.open("rb") as stream:
            file = np.load(stream, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("it holds one array, not an archive of named ones")
            _expect_names(path, file.files, shapes)
            return {name: _checked(path, name, file[name], shape) for name, shape in shapes.items()}
    except FileNotFoundError as error:
        raise StoreError(f"there is no weights file {path}", next="correct `weights`") from error
    except OSError as error:
        raise StoreError(f"cannot read {path}", cause=error.strerror or str(error)) from error
    # What zipfile, zlib and NumPy say of a file that is none, was cut off, or claims an absurd size.
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, MemoryError) as error:
        raise StoreError(
            f"{path} is damaged or no .npz file",
            cause=str(error).splitlines()[0] if str(error) else type(error).__name__,
            next="write it with numpy.savez(file, **{name: array})",
        ) from error


def write_weights(path: Path, values: Mapping[str, NDArray[Any]]) -> int:
    """Write parameters and statistics as an .npz file that `read_weights` reads, whole or not at all.

    Returns:
        Its bytes.

    Raises:
        StoreError: the file cannot be written.
    """
    import numpy as np

    arrays = {name: np.asarray(value, np.float32) for name, value in values.items()}
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        temporary.rename(path)
        return path.stat().st_size
    except OSError as error:
        raise StoreError(
            f"cannot write {path}",
            cause=error.strerror or str(error),
            next="free some space, or choose another folder with -o DIR",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _expect_names(path: Path, found: Sequence[str], shapes: Mapping[str, Shape]) -> None:
    if unknown := sorted(set(found) - set(shapes)):
        raise RequestError(
            f"{path.name} holds {unknown[0]!r}, which the workload has not",
            cause=f"it has {', '.join(shapes)}",
            next=suggest(unknown[0], shapes) or "leave it out of the file",
        )
    if missing := [name for name in shapes if name not in found]:
        raise RequestError(
            f"{path.name} lacks {', '.join(missing)}",
            cause="a file holds every parameter and every moving statistic of the workload",
            next="add what is missing, in canonical layout",
        )


def _checked(path: Path, name: str, value: NDArray[Any], shape: Shape) -> NDArray[np.float32]:
    import numpy as np

    if value.shape != shape:
        raise RequestError(
            f"{path.name}: {name} has shape {value.shape}, not {shape}",
            cause=f"the layers of the workload give {name} the shape {shape}",
            next="bring it into the canonical layout, or correct the layers",
        )
    if value.dtype.kind != "f":
        raise RequestError(f"{path.name}: {name} holds {value.dtype}, not floats")
    with np.errstate(over="ignore"):  # what is too large for float32 is refused below
        values = value.astype(np.float32)
    if not np.isfinite(values).all():
        raise RequestError(f"{path.name}: {name} holds numbers that are not finite in float32")
    return values


def generator(seed: int, name: str) -> np.random.Generator:
    """Return a random generator of its own for this seed and name."""
    import numpy as np

    words = np.frombuffer(sha256(name.encode()).digest(), dtype="<u4")
    return np.random.Generator(np.random.PCG64([seed, *map(int, words)]))


def _initial(name: str, shape: Shape, seed: int) -> NDArray[np.float32]:
    import numpy as np

    key = name.rpartition(".")[2]
    if key in ("gamma", "moving_variance"):
        return np.ones(shape, np.float32)
    if key in ("table", "lora_a"):
        return generator(seed, name).normal(0.0, TABLE_DEVIATION, shape).astype(np.float32)
    if not key.endswith("kernel"):
        return np.zeros(shape, np.float32)
    # A convolution's fans count every position of its window.
    window = prod(shape[:-2])
    limit = sqrt(6 / (window * (shape[-2] + shape[-1])))
    return generator(seed, name).uniform(-limit, limit, shape).astype(np.float32)
