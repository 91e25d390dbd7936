"""What differs where answers are verified instead of timed, so that every framework can agree.

Owns the changes to a network and its optimizer. Knows nothing of cells and programs.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable


def simplify(module: torch.nn.Module) -> tuple[str, ...]:
    """Turn dropout off and freeze the second bias of every LSTM; return what was done, in words."""
    done = []
    for part in module.modules():
        if isinstance(part, torch.nn.Dropout) and part.p:
            part.p = 0.0
            done.append("no dropout")
        if isinstance(part, torch.nn.LSTM) and part.bias_hh_l0.requires_grad:
            part.bias_hh_l0.requires_grad_(False)
            done.append("one bias in the LSTM")
    return tuple(dict.fromkeys(done))


def is_adam(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether the optimizer has an epsilon form of its own."""
    return isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW)


def canonical_step(optimizer: torch.optim.Optimizer, step: Callable[[], Any]) -> Callable[[], Any]:
    """Return what takes one step of Adam in canonical form; `step` is what takes torch's own.

    torch's Adam divides by √v̂ + ε; with ε/√(1 − β₂ᵗ) for ε at step t it takes the canonical form.

    Source: Kingma & Ba, Adam, 2015, the end of section 2.
    """
    epsilon, (_, beta) = optimizer.defaults["eps"], optimizer.defaults["betas"]

    def update() -> None:
        steps = max((int(state["step"]) for state in optimizer.state.values() if state), default=0)
        for group in optimizer.param_groups:
            group["eps"] = epsilon / sqrt(1 - beta ** (steps + 1))
        step()

    return update
