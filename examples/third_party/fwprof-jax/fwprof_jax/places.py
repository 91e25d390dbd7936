"""Where arrays live: jax's device of a cell, and how host arrays get there and back.

Knows nothing of models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from fwprof.plugin import PluginUnavailableError
from fwprof_jax.modes import native_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fwprof.plugin import Device

    Array = NDArray[Any]


def open_device(device: Device) -> jax.Device:
    """Return jax's device of a device record, after one empty operation there.

    Raises:
        PluginUnavailableError: this jax cannot use the device.
    """
    platform, index = native_name(device)
    try:
        found = jax.devices(platform)[index]
        (jax.device_put(np.zeros(1, np.float32), found) + 1).block_until_ready()
    # RuntimeError: the platform is unknown or does not start; IndexError: it has fewer devices.
    except (RuntimeError, IndexError) as error:
        raise PluginUnavailableError(
            f"jax {jax.__version__} cannot use {device.name} ({platform}:{index})",
            cause=str(error).splitlines()[0],
            next="install jax for this device, or choose another --device",
        ) from error
    return found


def to_device(tree: Any, device: jax.Device) -> Any:
    """Return copies of a tree's leaves on the device.

    They share no memory with the caller's: a training step gives its inputs' memory away. And all
    of them are bound to the device: jax compiles a second time for arguments that first are not,
    and after the first step are.
    """
    return jax.tree.map(lambda leaf: _put(to_host(leaf), leaf, device), tree)


def to_host(leaf: Any) -> Array:
    """Return a copy of one leaf as a NumPy array; of a random key, of its bits."""
    return np.array(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def put_like(values: Array, leaf: Any) -> Any:
    """Return values that `to_host` gave as a new leaf of the type and device of another."""
    if not _is_key(leaf) and values.dtype != leaf.dtype:
        # NumPy's files do not know bfloat16: they give its bytes.
        values = values.view(leaf.dtype) if values.dtype.kind == "V" else values.astype(leaf.dtype)
    (device,) = leaf.devices()
    return _put(values, leaf, device)


def _put(values: Array, leaf: Any, device: jax.Device) -> Any:
    placed = jax.device_put(values, device, may_alias=False)
    return jax.random.wrap_key_data(placed, impl=jax.random.key_impl(leaf)) if _is_key(leaf) else placed


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
