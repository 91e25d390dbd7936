"""A plugin that is wrong is blamed by kind, name, distribution and version, before it is used."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from fwprof.contracts import Meter, Model, Programs
from fwprof.errors import PluginContractError, PluginLoadError, PluginUnavailableError
from fwprof.loading import load_plugin, open_plugins, require_methods
from fwprof.records import PluginRef
from fwprof.testing.fake_meter import CountingMeter
from fwprof.testing.installed import FakeDistribution, installed

HOOKIMPL = "from fwprof.plugin import hookimpl\n"
BUILD = "@hookimpl\ndef build_model(workload, device, options): pass\n"
STEP = "@hookimpl\ndef train_step(model): pass\n"
FAKE = PluginRef(
    kind="framework",
    name="fake",
    distribution="fwprof-fakes",
    version="1.0",
    value="fwprof.testing.fake_framework:plugin",
)
CARD = PluginRef(
    kind="device",
    name="fakecard",
    distribution="fwprof-fakes",
    version="1.0",
    value="fwprof.testing.fake_device",
)


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., object]:
    """Install one module as a plugin of a kind and open it."""

    def open_(source: str, kind: str = "framework", attribute: str = "") -> object:
        wrong = FakeDistribution(name="fwprof-wrong", modules={"wrong_plugin": source}, version="3.1")
        reference = PluginRef(
            kind=kind,
            name="wrong",
            distribution="fwprof-wrong",
            version="3.1",
            value=f"wrong_plugin:{attribute}" if attribute else "wrong_plugin",
        )
        with installed(tmp_path, wrong):
            return open_plugins([reference])

    return open_


def test_a_manager_holds_what_was_asked_for_and_nothing_else() -> None:
    manager = open_plugins([FAKE, CARD])
    assert [name for name, _ in manager.list_name_plugin()] == ["framework:fake", "device:fakecard"]
    assert [len(devices) for devices in [manager.hook.devices()]] == [2]


def test_each_cell_has_a_manager_of_its_own() -> None:
    assert open_plugins([FAKE]) is not open_plugins([FAKE])


@pytest.mark.parametrize(
    ("source", "attribute", "cause"),
    [
        ("import no_such_runtime", "", "ModuleNotFoundError: No module named 'no_such_runtime'"),
        ("1 / 0", "", "ZeroDivisionError: division by zero"),
        ("x = 1", "plugin", "AttributeError: module 'wrong_plugin' has no attribute 'plugin'"),
    ],
)
def test_a_failing_import_is_blamed_with_its_cause(
    opened: Callable[..., object], source: str, attribute: str, cause: str
) -> None:
    blame = re.escape("the framework plugin 'wrong' (fwprof-wrong 3.1) could not be imported")
    with pytest.raises(PluginLoadError, match=blame) as caught:
        opened(source, attribute=attribute)
    assert caught.value.cause == cause
    assert "fwprof-wrong" in caught.value.next
    assert type(caught.value.__cause__).__name__ == cause.partition(":")[0]


def test_a_plugin_that_says_what_it_lacks_while_imported_is_not_reworded(
    opened: Callable[..., object],
) -> None:
    source = "from fwprof.errors import PluginUnavailableError\nraise PluginUnavailableError('no driver')"
    with pytest.raises(PluginUnavailableError, match=r"^no driver$"):
        opened(source)


@pytest.mark.parametrize(
    ("kind", "source", "cause"),
    [
        ("framework", BUILD, "it does not implement train_step"),
        ("framework", "", "it does not implement build_model, train_step"),
        ("device", "", "it does not implement devices"),
        (
            "framework",
            BUILD + STEP + "@hookimpl\ndef export(result, destination): pass\n",
            "framework plugins may not implement export",
        ),
        (
            "exporter",
            "@hookimpl\ndef export(result, destination): pass\n" + STEP,
            "exporter plugins may not implement train_step",
        ),
        ("framework", BUILD + STEP + "@hookimpl\ndef warm_up(model): pass\n", "unknown hook 'warm_up'"),
        (
            "framework",
            BUILD + "@hookimpl\ndef train_step(model, speed): pass\n",
            "Argument(s) {'speed'} are declared in the hookimpl but can not be found in the hookspec",
        ),
        (
            "framework",
            BUILD + "@hookimpl(wrapper=True)\ndef train_step(model):\n    return (yield)\n",
            "train_step needs one plain implementation, not a wrapper",
        ),
        (
            "meter",
            "@hookimpl(hookwrapper=True)\ndef measure(model):\n    yield\n",
            "measure needs one plain implementation, not a wrapper",
        ),
    ],
)
def test_hooks_that_are_missing_foreign_unknown_or_misused_are_blamed(
    opened: Callable[..., object], kind: str, source: str, cause: str
) -> None:
    blame = re.escape(f"the {kind} plugin 'wrong' (fwprof-wrong 3.1) does not keep the plugin contract")
    with pytest.raises(PluginContractError, match=blame) as caught:
        opened(HOOKIMPL + source, kind)
    assert cause in caught.value.cause
    assert "docs/reference/hooks.md" in caught.value.next


def test_hooks_may_leave_out_arguments_they_do_not_need(opened: Callable[..., object]) -> None:
    source = "@hookimpl\ndef build_model(options): pass\n@hookimpl\ndef train_step(): pass\n"
    assert opened(HOOKIMPL + source) is not None


def test_an_object_may_be_named_inside_another(opened: Callable[..., object]) -> None:
    source = (
        HOOKIMPL + "class place:\n    class plugin:\n        devices = staticmethod(hookimpl(lambda: []))\n"
    )
    manager = opened(source, "device", "place.plugin")
    assert manager.hook.devices() == []  # type: ignore[attr-defined]  # the fixture returns what was opened


def test_one_object_cannot_stand_for_two_plugins_of_a_cell() -> None:
    again = msgspec.structs.replace(FAKE, name="other")
    with pytest.raises(PluginContractError, match=r"'other' \(fwprof-fakes 1\.0\) does not keep") as caught:
        open_plugins([FAKE, again])
    assert caught.value.cause == "its object already stands for another plugin of this cell"


def test_a_hook_that_returns_none_is_blamed() -> None:
    with pytest.raises(PluginContractError, match=r"'fake' \(fwprof-fakes 1\.0\)") as caught:
        require_methods(None, Model, FAKE, "build_model")
    assert caught.value.cause == "build_model returned None"


def test_what_a_hook_returned_must_have_every_method() -> None:
    class Half:
        def forward(self, staged: object) -> None: ...
        def run(self, staged: object) -> None: ...

    with pytest.raises(PluginContractError, match="does not keep the plugin contract") as caught:
        require_methods(Half(), Programs, FAKE, "train_step")
    assert caught.value.cause == "what train_step returned has no forward_backward, next_batch, read, wait"


def test_attributes_count_like_methods() -> None:
    class Meterless:
        def start(self) -> None: ...
        def sample(self) -> None: ...
        def stop(self) -> None: ...

    require_methods(CountingMeter("fake.x", "1", 1), Meter, FAKE, "measure")
    with pytest.raises(PluginContractError, match="plugin contract") as caught:
        require_methods(Meterless(), Meter, FAKE, "measure")
    assert caught.value.cause == "what measure returned has no passes"


def test_a_plugin_is_whatever_its_entry_point_names() -> None:
    assert load_plugin(FAKE) is load_plugin(FAKE)
