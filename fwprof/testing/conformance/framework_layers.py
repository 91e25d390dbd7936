"""What layers must give that a framework runs alone: outputs and gradients of the layer, all of them.

Compared with the float64 reference, layer by layer. Having no such layers is fine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fwprof.contracts import LayerCase, LayerPrograms, Result
from fwprof.errors import UnsupportedError
from fwprof.execution.layers import layer_cases
from fwprof.plugin import layers as kinds
from fwprof.testing.conformance.cases import BATCH
from fwprof.testing.conformance.subject import Built, FrameworkSubject
from fwprof.testing.conformance.verdicts import NotApplicable, expect, expect_close, expect_names

if TYPE_CHECKING:
    from fwprof.contracts import Array
    from fwprof.testing.numpy_network import Output

CASES = ("plain", "batch_norm", "image", "sequence")


@dataclass
class _Opened:
    built: Built
    case: LayerCase
    programs: LayerPrograms
    has_gradients: bool

    def done(self, result: Result) -> Result:
        self.programs.wait(result)
        return result


def check_layers_give_their_outputs(subject: FrameworkSubject) -> None:
    """F of a layer alone gives what that layer makes of its inputs, for the whole batch."""
    for opened, what in _each(subject):
        outputs, gradients = opened.programs.read(opened.done(opened.programs.forward()))
        expect(not gradients, f"F of {what} gives gradients")
        _expect_outputs(subject, opened, outputs, f"F of {what}")


def check_layers_compute_every_gradient(subject: FrameworkSubject) -> None:
    """G of a layer alone gives its outputs, and the gradient by each trained parameter and its inputs."""
    for opened, what in _each(subject):
        if not opened.has_gradients:
            continue
        case = opened.case
        outputs, gradients = opened.programs.read(opened.done(opened.programs.forward_backward()))
        _expect_outputs(subject, opened, outputs, f"G of {what}")
        wanted = {*case.layer.parameters, *(("inputs",) if case.has_input_gradient else ())}
        expect_names(gradients, wanted, f"what G of {what} gives gradients by")
        if isinstance(case.layer.layer, kinds.Dropout):
            continue
        found: dict[str, np.ndarray] = {}
        _, pull = _reference(opened)
        found["inputs"] = pull(case.upstream.astype(np.float64), found)
        for name in sorted(wanted):
            expect_close(gradients[name], found[name], subject.tolerance, f"{what}: the gradient of {name}")


def check_layers_leave_the_model_alone(subject: FrameworkSubject) -> None:
    """After F and G of every layer the parameters are what they were."""
    built: Built | None = None
    before: Mapping[str, Array] = {}
    for opened, _ in _each(subject, cases=("plain",)):
        if built is None:
            built, before = opened.built, opened.built.copies()
        opened.done(opened.programs.forward())
        if opened.has_gradients:
            opened.done(opened.programs.forward_backward())
    assert built is not None  # the workload has layers
    after = built.parameters()
    for name in sorted(built.trained()):
        expect(bool((after[name] == before[name]).all()), f"a layer run alone changed {name}")


def _each(subject: FrameworkSubject, cases: tuple[str, ...] = CASES) -> Iterator[tuple[_Opened, str]]:
    """Yield every layer of the small workloads, opened; those that the plugin refuses are left out."""
    count = 0
    for name in cases:
        try:
            built = subject.build(name)
        except NotApplicable:
            continue
        make = getattr(built.model, "open_layer", None)
        if make is None:
            raise NotApplicable("the model cannot run a layer alone")
        for case, has_gradients in layer_cases(built.loaded, BATCH, seed=5):
            try:
                programs = make(case)
            except UnsupportedError:
                continue
            count += 1
            yield _Opened(built, case, programs, has_gradients), f"layer {case.layer.path} of {name}"
    if not count:
        raise NotApplicable("the model can run no layer of the small workloads alone")


def _reference(opened: _Opened) -> Output:
    inputs = opened.case.inputs
    exact = inputs if inputs.dtype.kind == "i" else inputs.astype(np.float64)
    return opened.built.reference().network.apply(opened.case.layer, exact, is_training=True)


def _expect_outputs(subject: FrameworkSubject, opened: _Opened, outputs: object, what: str) -> None:
    found, layer = np.asarray(outputs), opened.case.layer
    shape = (BATCH, *layer.output_shape)
    expect(found.shape == shape, f"what {what} gives has shape {found.shape}, not {shape}")
    # What is dropped is random.
    if not isinstance(layer.layer, kinds.Dropout):
        expect_close(found, _reference(opened)[0], subject.tolerance, f"what {what} gives")


LAYER_CHECKS = (
    check_layers_give_their_outputs,
    check_layers_compute_every_gradient,
    check_layers_leave_the_model_alone,
)
