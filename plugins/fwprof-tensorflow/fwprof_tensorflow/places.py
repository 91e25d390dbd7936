"""Where tensors live: the tensorflow device of a cell, and how to wait for it.

Owns every difference between devices. Knows nothing of models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from fwprof.plugin import PluginUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fwprof.plugin import Device

_PREFIX = "/device:"


class Place:
    """A logical device of tensorflow that is known to work.

    Args:
        name: as tensorflow has it, `CPU:0`.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_host = name.startswith("CPU")

    def wait(self) -> None:
        """Return when all work submitted so far is finished; on the host it is when a call returns."""
        if not (self.is_host and tf.config.experimental.get_synchronous_execution()):
            tf.test.experimental.sync_devices()

    def versions(self) -> Mapping[str, str]:
        """Return versions of the libraries behind the device."""
        if not self.name.startswith("GPU"):
            return {}
        built = tf.sysconfig.get_build_info()
        found = {name: built.get(f"{name}_version") for name in ("cuda", "cudnn")}
        return {name: str(version) for name, version in found.items() if version}


def configure(device: Device, threads: int) -> None:
    """Set threads and memory growth, and hide cards from a cell of the host.

    Raises:
        PluginUnavailableError: tensorflow was used in this process before, with other settings.
    """
    is_host = native_name(device).startswith("CPU")
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        cards = tf.config.list_physical_devices("GPU")
        if cards and is_host:
            tf.config.set_visible_devices([], "GPU")
        for card in () if is_host else cards:
            tf.config.experimental.set_memory_growth(card, True)
    except RuntimeError as error:
        raise PluginUnavailableError(
            "tensorflow is already set up otherwise in this process",
            cause=str(error).splitlines()[0],
            next="let the cell have a process of its own",
        ) from error


def open_place(device: Device) -> Place:
    """Return the place a device record names, after one empty operation there.

    Raises:
        PluginUnavailableError: this build of tensorflow cannot use the device.
    """
    name = native_name(device)
    known = [found.name.removeprefix(_PREFIX) for found in tf.config.list_logical_devices()]
    if name not in known:
        raise PluginUnavailableError(
            f"tensorflow {tf.__version__} cannot use {device.name} ({name})",
            cause=f"it sees {', '.join(known)}",
            next="install a build of tensorflow for this device, or choose another --device",
        )
    place = Place(name)
    with tf.device(name):
        tf.zeros(1) + 1
    place.wait()
    return place


def native_name(device: Device) -> str:
    """Return the device's name in tensorflow's spelling: kind in capitals, then its number."""
    kind, _, number = device.native.get("tensorflow", device.kind).partition(":")
    return f"{kind.upper()}:{number or 0}"
