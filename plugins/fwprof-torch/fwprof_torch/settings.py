"""Settings in force: read back from torch, and the `equal` preset.

What is read here must come from torch itself, never from what was asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from fwprof.plugin import Scalar
    from fwprof_torch.places import Place


def apply_preset(preset: str, precision: str, place: Place) -> None:
    """Set the precision of float32 products: `equal` strictly, `as-shipped` only where tf32 was asked.

    On the host there is nothing to set: both presets are one there, and read back the same.
    """
    if precision == "tf32":
        _allow_tf32(True)
    elif preset == "equal" and not place.is_host:
        _allow_tf32(False)
    if preset == "equal" and not place.is_host:
        torch.backends.cudnn.benchmark = False


def _allow_tf32(allowed: bool) -> None:
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def read_settings(
    module: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    is_compiled: bool,
    is_optimizer_compiled: bool,
) -> dict[str, Scalar]:
    """Return every setting that changes what a step computes or costs, as torch states it now.

    Args:
        module: the network, for its dtype and memory format.
        optimizer: for its class and implementation.
        is_compiled: whether the loss function is compiled, as read from it.
        is_optimizer_compiled: the same of the optimizer's step.
    """
    group = optimizer.param_groups[0]
    return {
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "jit": is_compiled,
        "jit_optimizer": is_optimizer_compiled,
        "default_dtype": _name(torch.get_default_dtype()),
        "compute_dtype": _parameter_dtype(module),
        "parameter_dtype": _parameter_dtype(module),
        "layout": _layout(module),
        "grad_enabled": torch.is_grad_enabled(),
        "float32_matmul_precision": _read(torch.get_float32_matmul_precision),
        "matmul_fp32_precision": torch.backends.cuda.matmul.fp32_precision,
        "cudnn_conv_fp32_precision": torch.backends.cudnn.conv.fp32_precision,  # type: ignore[attr-defined]  # set at run time
        "matmul_allow_tf32": _read(lambda: torch.backends.cuda.matmul.allow_tf32),
        "cudnn_allow_tf32": _read(lambda: torch.backends.cudnn.allow_tf32),
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "onednn": bool(torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled),  # type: ignore[no-untyped-call]  # untyped in torch
        "mkl": bool(torch.backends.mkl.is_available()),  # type: ignore[no-untyped-call]  # untyped in torch
        "optimizer": type(optimizer).__name__,
        "optimizer_foreach": group.get("foreach"),
        "optimizer_fused": group.get("fused"),
    }


def notable_settings(place: Place) -> tuple[str, ...]:
    """Return the settings that a reader wants to see first: those that change what a step costs here."""
    everywhere = ("threads", "float32_matmul_precision", "jit", "graph_breaks", "layout")
    return (*everywhere, "onednn") if place.is_host else (*everywhere, "cudnn_allow_tf32", "cudnn_benchmark")


def _read(getter: Callable[[], Scalar]) -> Scalar:
    try:
        return getter()
    # torch refuses to read a legacy flag once user code has set the newer one beside it.
    except RuntimeError:
        return "mixed"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _parameter_dtype(module: torch.nn.Module) -> str:
    return "+".join(sorted({_name(parameter.dtype) for parameter in module.parameters()}))


def _layout(module: torch.nn.Module) -> str:
    images = [parameter for parameter in module.parameters() if parameter.dim() == 4]
    is_channels_last = any(
        image.is_contiguous(memory_format=torch.channels_last) and not image.is_contiguous()
        for image in images
    )
    return "channels_last" if is_channels_last else "contiguous"
