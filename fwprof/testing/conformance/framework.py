"""What every framework plugin must do: its hooks, and everything of its model and programs."""

from __future__ import annotations

from fwprof.plugin import UnsupportedError
from fwprof.records import CellPlan
from fwprof.testing.conformance.cases import load_case, with_hologram
from fwprof.testing.conformance.framework_formats import FORMAT_CHECKS
from fwprof.testing.conformance.framework_guards import GUARD_CHECKS
from fwprof.testing.conformance.framework_layers import LAYER_CHECKS
from fwprof.testing.conformance.framework_memory import MEMORY_CHECKS
from fwprof.testing.conformance.framework_model import MODEL_CHECKS
from fwprof.testing.conformance.framework_pipeline import PIPELINE_CHECKS
from fwprof.testing.conformance.framework_precision import PRECISION_CHECKS
from fwprof.testing.conformance.framework_programs import PROGRAM_CHECKS
from fwprof.testing.conformance.framework_settings import SETTINGS_CHECKS
from fwprof.testing.conformance.framework_verification import VERIFICATION_CHECKS
from fwprof.testing.conformance.meter import expect_honest_readings, expect_passes
from fwprof.testing.conformance.subject import FrameworkSubject, register
from fwprof.testing.conformance.verdicts import NotApplicable, expect, expect_same

GEMM_SIZE = 64
COPY_BYTES = 2**16


def check_hooks_keep_the_contract(subject: FrameworkSubject) -> None:
    """The plugin implements the hooks of a framework, with arguments that exist."""
    register(subject.plugin, "framework", subject.name)


def check_prepare_gives_versions(subject: FrameworkSubject) -> None:
    """prepare returns package names and versions, at least one."""
    versions = subject.versions
    if versions is None:
        expect(not _implements(subject, "prepare"), "prepare returned None")
        raise NotApplicable("the plugin has no prepare")
    is_text = all(isinstance(text, str) and text for pair in versions.items() for text in pair)
    expect(bool(versions) and is_text, f"prepare returned {dict(versions)!r}, not names and versions")


def check_an_unsupported_layer_is_named(subject: FrameworkSubject) -> None:
    """build_model raises UnsupportedError that names the layer it lacks."""
    loaded = with_hologram(load_case("plain"))
    try:
        _ = subject.versions
        subject.build_prepared(loaded, subject.cell(load_case("plain")))
    except UnsupportedError as error:
        told = f"{error} {error.cause}".lower()
        expect("hologram" in told, f"the UnsupportedError does not name the layer: {error}")
    else:
        expect(False, "build_model ignored a layer that no framework has")


def check_an_unknown_variant_is_refused(subject: FrameworkSubject) -> None:
    """prepare or build_model raises UnsupportedError that names the variant."""
    cell = subject.cell(load_case("plain"), variant="no-such-variant")
    _expect_unsupported(subject, cell, "no-such-variant")


def check_an_unknown_option_is_refused(subject: FrameworkSubject) -> None:
    """prepare or build_model raises UnsupportedError that names the option."""
    cell = subject.cell(load_case("plain"), options={**subject.options, "no_such_option": 1})
    _expect_unsupported(subject, cell, "no_such_option")


def _expect_unsupported(subject: FrameworkSubject, cell: CellPlan, name: str) -> None:
    # prepare is called once a process: only build_model sees the wrong cell.
    _ = subject.versions
    try:
        subject.build_prepared(load_case("plain"), cell)
    except UnsupportedError as error:
        told = f"{error} {error.cause}"
        expect(name in told, f"the UnsupportedError does not name {name}: {error}")
    else:
        expect(False, f"build_model ignored {name}")


def check_out_of_memory_is_told_apart(subject: FrameworkSubject) -> None:
    """is_out_of_memory does not take every error for a lack of memory."""
    if not _implements(subject, "is_out_of_memory"):
        raise NotApplicable("the plugin has no is_out_of_memory")
    answer = subject.manager.hook.is_out_of_memory(error=ValueError("a wrong value"))
    expect(not answer, "is_out_of_memory takes a ValueError for a lack of memory")


def check_peak_kernels_run(subject: FrameworkSubject) -> None:
    """peak_kernels names its library; its product and copy run."""
    if not _implements(subject, "peak_kernels"):
        raise NotApplicable("the plugin has no peak_kernels")
    plan = subject.cell(load_case("plain"))
    _ = subject.versions
    kernels = subject.manager.hook.peak_kernels(device=plan.device, plan=plan, cache=subject.folder)
    expect(kernels is not None and bool(kernels.library), "peak_kernels names no library")
    kernels.gemm(GEMM_SIZE)
    kernels.copy(COPY_BYTES)


def check_meters_take_part_in_known_passes(subject: FrameworkSubject) -> None:
    """Each meter of the framework names passes that exist."""
    _require_measure(subject)
    for meter in subject.meters():
        expect_passes(meter)


def check_meters_read_honestly(subject: FrameworkSubject) -> None:
    """Each reading of the framework's meters has a unit; one without a value has a reason."""
    _require_measure(subject)
    for meter in subject.meters():
        expect_honest_readings(meter)


def check_a_native_model_trains_and_resets(subject: FrameworkSubject) -> None:
    """The user's own model trains; reset() brings back what the factory made."""
    if subject.native is None:
        raise NotApplicable("no factory of a user's own model was given")
    built = subject.build_native(subject.native)
    before = built.copies()
    built.steps(2)
    after = built.parameters()
    changed = any((after[name] != value).any() for name, value in before.items())
    expect(changed, "two steps changed no parameter of the user's own model")
    built.model.reset()
    expect_same(built.parameters(), before, 1e-6, "parameters() of the user's own model after reset")


def _require_measure(subject: FrameworkSubject) -> None:
    if not _implements(subject, "measure"):
        raise NotApplicable("the plugin has no measure")


def _implements(subject: FrameworkSubject, hook: str) -> bool:
    return bool(getattr(subject.manager.hook, hook).get_hookimpls())


HOOK_CHECKS = (
    check_hooks_keep_the_contract,
    check_prepare_gives_versions,
    check_an_unsupported_layer_is_named,
    check_an_unknown_variant_is_refused,
    check_an_unknown_option_is_refused,
    check_out_of_memory_is_told_apart,
    check_peak_kernels_run,
    check_meters_take_part_in_known_passes,
    check_meters_read_honestly,
    check_a_native_model_trains_and_resets,
)
FRAMEWORK_CHECKS = (
    *HOOK_CHECKS,
    *MODEL_CHECKS,
    *FORMAT_CHECKS,
    *PROGRAM_CHECKS,
    *PIPELINE_CHECKS,
    *LAYER_CHECKS,
    *SETTINGS_CHECKS,
    *PRECISION_CHECKS,
    *MEMORY_CHECKS,
    *VERIFICATION_CHECKS,
    *GUARD_CHECKS,
)
