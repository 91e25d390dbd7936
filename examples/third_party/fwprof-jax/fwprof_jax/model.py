"""What the core asks of any model of this plugin: parameters, reset, files, settings, compilations.

Neutral workloads (`neutral`) and the user's own models (`native`) differ in their loss, in how a
batch is staged and in what is predicted from; all else is here.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path
from tempfile import mkstemp
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
import optax

from fwprof.plugin import Description, Format
from fwprof_jax.compilations import count_compilations
from fwprof_jax.mixed import scale_of
from fwprof_jax.places import put_like, to_device, to_host
from fwprof_jax.programs import compile_programs, mean_over_parts
from fwprof_jax.settings import NOTABLE, is_warm, product_types, read_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from fwprof.plugin import Options, Scalar, Staged
    from fwprof_jax.modes import Mode
    from fwprof_jax.programs import Loss

    Array = NDArray[Any]


class JaxModel(ABC):
    """Parameters, optimizer state and other state on one device, and the programs that train them.

    Args:
        params: any pytree of arrays.
        state: what the loss is not differentiated by; its `statistics` and what is `frozen` are shown
            as parameters.
        loss: pure; (params, state, batch) → (mean loss, state).
        batch: the first one of those that will be staged.
        has_parts: whether batches are staged in parts, whose gradients are accumulated; the loss is
            then of one of them.
    """

    verified_with: tuple[str, ...] = ()

    def __init__(
        self,
        *,
        params: Any,
        state: Any,
        loss: Loss,
        batch: Any,
        optimizer: optax.GradientTransformation,
        device: jax.Device,
        mode: Mode,
        options: Options,
        has_parts: bool = False,
    ) -> None:
        count_compilations()  # from now on
        self.device = device
        self.params = to_device(params, device)
        self.state = to_device(state, device)
        self.optimizer_state = to_device(optimizer.init(self.params), device)
        self._batch_shape = jax.eval_shape(lambda tree: tree, self.stage(batch))
        # jax runs Python at a program's first call; traced now, what is unknown is refused in the build.
        whole = mean_over_parts(loss) if has_parts else loss
        traced, (self.loss_shape, _) = jax.make_jaxpr(whole, return_shape=True)(
            self.params, self.state, self._batch_shape
        )
        self._product_types = product_types(traced)
        self.compiled = compile_programs(loss, optimizer, has_parts=has_parts)
        self._mode = mode
        # The start is kept in a file: in memory it would count as the model's. It has a name of its
        # own, for several models of one process may share the folder.
        handle, name = mkstemp(prefix="start-", suffix=".npz", dir=options.cache)
        os.close(handle)
        self._start = Path(name)
        self.save(self._start)

    @property
    @abstractmethod
    def batch_size(self) -> int:
        """Samples in the batches that are trained on."""

    @abstractmethod
    def convert(self, batch: Any) -> Any:
        """Return one batch as the pytree of arrays that the loss takes, on the host still."""

    @abstractmethod
    def next_batch(self) -> Staged:
        """Fetch one batch from the data pipeline and stage it."""

    @abstractmethod
    def predict(self, staged: Staged) -> Array:
        """Return the outputs `(batch, classes)` in inference mode, changing nothing."""

    def stage(self, batch: Any) -> Staged:
        """Put one batch on the device and wait until it is there."""
        placed = jax.device_put(self.convert(batch), self.device)
        return jax.block_until_ready(placed)  # type: ignore[no-untyped-call]  # untyped in jax

    def parameters(self) -> Mapping[str, Array]:
        """Return copies of parameters, trained and frozen, and batch statistics by name."""
        return {name: value for tree in self.shown for name, value in self.name_leaves(tree).items()}

    def name_leaves(self, tree: Any) -> dict[str, Array]:
        """Return copies of a tree's leaves, by their paths in it."""
        return {_name(path): to_host(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}

    def load_parameters(self, values: Mapping[str, Array]) -> None:
        """Set parameters, trained and frozen, and batch statistics from canonical arrays.

        Raises:
            ValueError: a name is unknown or a shape is wrong.
        """
        trees = self.shown
        known = {_name(path[1:]): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(trees)}
        for name, array in values.items():
            if name not in known:
                raise ValueError(f"unknown parameter {name!r}")
            if array.shape != known[name]:
                raise ValueError(f"parameter {name!r}: shape {array.shape} instead of {known[name]}")
        self.params, *others = jax.tree_util.tree_map_with_path(
            lambda path, leaf: (
                put_like(np.array(values[name]), leaf) if (name := _name(path[1:])) in values else leaf
            ),
            trees,
        )
        self.state = {**self.state, **dict(zip(self._shown_state, others, strict=True))}

    def reset(self) -> None:
        """Restore parameters, optimizer state, statistics and random state."""
        self.restore(self._start)

    def save(self, path: Path) -> None:
        """Write parameters, optimizer state and other state as NumPy's `.npz`."""
        leaves = jax.tree.leaves(self._all)
        with path.open("wb") as file:
            np.savez(file, allow_pickle=False, **{str(i): to_host(leaf) for i, leaf in enumerate(leaves)})

    def restore(self, path: Path) -> None:
        """Read what `save` wrote."""
        leaves, structure = jax.tree.flatten(self._all)
        with np.load(path, allow_pickle=False) as saved:
            found = [put_like(saved[str(i)], leaf) for i, leaf in enumerate(leaves)]
        self.params, self.optimizer_state, self.state = jax.tree.unflatten(structure, found)
        jax.block_until_ready(self._all)  # type: ignore[no-untyped-call]  # untyped in jax

    def formats(self) -> Mapping[str, Format]:
        """Return `npz`: jax itself has no file format, and orbax is no dependency of this plugin."""
        return {
            "npz": Format(
                holds=("parameters", "statistics", "optimizer", "random_state"),
                save=self.save,
                restore=self.restore,
            )
        }

    def settings(self) -> Mapping[str, Scalar]:
        """Return the settings in force, read back from jax."""
        return {**read_settings(self.params), "compute_dtype": self._product_types}

    def describe(self) -> Description:
        """Return mode and device as resolved."""
        settings = dict(self.settings())
        labels = ["whole_graph"] if settings["jit"] else []
        if self._mode.cache is not None and is_warm(self._mode.cache):
            labels.append("warm_cache")
        return Description(
            mode="jit" if settings["jit"] else "jit disabled",
            native_device=f"{self.device.platform}:{self.device.id}",
            settings=settings,
            versions={"jax": jax.__version__, "optax": optax.__version__},
            parameter_count=sum(leaf.size for leaf in jax.tree.leaves(self.params)),
            batch_size=self.batch_size,
            labels=tuple(labels),
            notable=NOTABLE,
            verified_with=self.verified_with,
        )

    def compilations(self) -> int:
        """Return how many programs XLA compiled in this process since the first model was built."""
        return count_compilations()

    def plan_memory(self) -> int | None:
        """Return the bytes that one training step holds at once, or None where XLA does not tell."""
        step = self.compiled.run.lower(*self._all, self._batch_shape)
        plan = step.compile().memory_analysis()
        if plan is None:
            return None
        arguments, results = plan.argument_size_in_bytes, plan.output_size_in_bytes
        return int(arguments + results + plan.temp_size_in_bytes - plan.alias_size_in_bytes)

    def plan_passes(self, staged: Staged) -> int | None:
        """Return the bytes that G holds besides its arguments and results, or None as above."""
        scale = scale_of(self.optimizer_state)
        passes = self.compiled.forward_backward.lower(self.params, self.state, staged, *scale)
        plan = passes.compile().memory_analysis()
        return None if plan is None else int(plan.temp_size_in_bytes)

    @property
    def _shown_state(self) -> tuple[str, ...]:
        return tuple(key for key in ("frozen", "statistics") if key in self.state)

    @property
    def shown(self) -> tuple[Any, ...]:
        """Parameters, and what of the state is shown as such: frozen ones, batch statistics."""
        return self.params, *(self.state[key] for key in self._shown_state)

    @property
    def _all(self) -> tuple[Any, Any, Any]:
        return self.params, self.optimizer_state, self.state


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")
