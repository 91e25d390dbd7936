"""Records as JSON: what goes in comes out, and what does not belong is refused or ignored by rule."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwprof import codec
from fwprof.errors import StoreError
from fwprof.records import (
    Block,
    FrameworkChoice,
    HostCounters,
    Reading,
    RunPlan,
    RunRequest,
    RunResult,
    Startup,
    frames,
)
from fwprof.records.measurement import Description
from fwprof.testing.samples import sample_cell, sample_result

counts = st.integers(min_value=0, max_value=2**53)
text = st.text(max_size=20)
finite = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | counts | finite | text
counters = st.builds(HostCounters, window_ns=counts, cpu_ns=st.none() | counts)
blocks = st.builds(
    Block,
    round=counts,
    order=counts,
    program=st.sampled_from(["forward", "forward_backward", "run", "pipelined", "next_batch"]),
    start_ns=counts,
    step_ns=st.lists(counts, max_size=5).map(tuple),
    loss=st.none() | finite,
    counters=st.none() | counters,
)
readings = st.builds(
    Reading,
    value=st.none() | counts | finite,
    unit=text,
    reason=text,
    samples=st.lists(st.tuples(counts, finite), max_size=3).map(tuple),
)
reports: st.SearchStrategy[frames.Report] = st.one_of(
    st.builds(frames.BlockDone, block=blocks),
    st.builds(
        frames.Warm,
        program=st.just("run"),
        blocks=st.lists(blocks, max_size=3).map(tuple),
        steady=st.booleans(),
    ),
    st.builds(frames.Readings, pass_name=text, readings=st.dictionaries(text, readings, max_size=3)),
    st.builds(
        frames.Ready,
        startup=st.builds(
            Startup, import_ns=counts, build_ns=counts, first_step_ns=counts, second_step_ns=counts
        ),
    ),
    st.builds(frames.Finished, facts=st.dictionaries(text, scalars, max_size=3)),
)


def with_field(record: object, *path: str | int) -> bytes:
    """Return a record's JSON with one more field in the object at `path`."""
    raw = json.loads(codec.encode(record))
    place: Any = raw
    for key in path:
        place = place[key]
    place["from_the_future"] = {"deep": [1, 2]}
    return json.dumps(raw).encode()


@given(reports)
def test_a_report_comes_back_from_a_frame_as_it_was(report: frames.Report) -> None:
    (body,) = codec.FrameReader().feed(codec.frame(report))
    assert frames.report_decoder.decode(body) == report


@given(st.lists(reports, max_size=6), st.data())
def test_frames_may_be_cut_at_any_byte(sent: list[frames.Report], data: st.DataObject) -> None:
    stream = b"".join(codec.frame(report) for report in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    reader, received = codec.FrameReader(), []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        received += [frames.report_decoder.decode(body) for body in reader.feed(stream[begin:end])]
    assert received == sent


def test_a_frame_announced_too_long_is_refused_before_it_is_read() -> None:
    with pytest.raises(ValueError, match=r"a frame of 4294967295 bytes was announced, over the limit"):
        list(codec.FrameReader().feed(b"\xff\xff\xff\xff"))


def test_a_record_too_long_for_a_frame_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "FRAME_LIMIT", 10)
    with pytest.raises(ValueError, match="a frame of 30 bytes is over the limit of 10"):
        codec.frame(frames.Finished())


@given(
    st.builds(
        RunRequest,
        workloads=st.lists(text, max_size=3).map(tuple),
        plugins=st.lists(
            st.builds(FrameworkChoice, name=text, options=st.dictionaries(text, scalars, max_size=2)),
            max_size=2,
        ).map(tuple),
        half_width=st.floats(0.01, 0.5),
        overrides=st.dictionaries(text, scalars, max_size=2),
    )
)
def test_a_request_comes_back_from_json_as_it_was(request_: RunRequest) -> None:
    assert msgspec.json.decode(codec.encode(request_), type=RunRequest) == request_


def test_a_whole_run_comes_back_from_its_file_as_it_was() -> None:
    result = sample_result()
    assert codec.decode_stored(codec.encode_pretty(result), RunResult, "run.json") == result


def test_a_file_for_people_is_indented_and_ends_with_a_newline() -> None:
    assert codec.encode_pretty(Reading(value=1, unit="bytes")).startswith(b'{\n  "value": 1,\n')
    assert codec.encode_pretty(Reading(value=1, unit="bytes")).endswith(b"}\n")


@pytest.mark.parametrize("type_", [frames.Order, frames.Report])
def test_a_frame_with_an_unknown_field_is_refused(type_: Any) -> None:
    record = frames.Finish() if type_ is frames.Order else frames.Finished()
    decoder = frames.order_decoder if type_ is frames.Order else frames.report_decoder
    with pytest.raises(msgspec.ValidationError, match="contains unknown field `from_the_future`"):
        decoder.decode(with_field(record))


def test_a_frame_of_an_unknown_type_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="Invalid value 'dance'"):
        frames.order_decoder.decode(b'{"type": "dance"}')


def test_a_plan_within_an_order_with_an_unknown_field_is_refused() -> None:
    order = frames.MeasureLimits(cell=sample_cell(), seconds=1.0, cache="")
    with pytest.raises(msgspec.ValidationError, match=r"`from_the_future` - at `\$.cell.device`"):
        frames.order_decoder.decode(with_field(order, "cell", "device"))


@pytest.mark.parametrize(
    "path",
    [
        (),
        ("plan",),
        ("plan", "groups", 0, "cells", 0, "workload", "spec"),
        ("plan", "groups", 0, "cells", 0, "workload", "spec", "layers", 1),
        ("plan", "groups", 0, "cells", 0, "workload", "spec", "optimizer"),
        ("cells", 0, "description"),
        ("cells", 0, "measurements", 0, "blocks", 2),
        ("cells", 0, "readings", "host_peak"),
        ("cells", 1, "failure"),
    ],
)
def test_stored_fields_of_a_later_minor_are_ignored_wherever_they_stand(path: tuple[str | int, ...]) -> None:
    result = sample_result(2)
    assert codec.decode_stored(with_field(result, *path), RunResult, "run.json") == result


@pytest.mark.parametrize("is_known", [True, False])
def test_a_stored_record_of_a_newer_major_is_refused_even_if_its_fields_fit(is_known: bool) -> None:
    newer = msgspec.structs.replace(sample_result(1), schema_version=2)
    data = codec.encode(newer) if is_known else with_field(newer, "plan")
    with pytest.raises(StoreError, match=r"run\.json was written by a newer fwprof") as caught:
        codec.decode_stored(data, RunResult, "run.json")
    assert caught.value.cause == "schema version 2; this fwprof reads up to 1"
    assert caught.value.exit_code == 6


@pytest.mark.parametrize("data", [b"", b"{", b'"\xff"', b"\x00\x00"])
def test_bytes_that_are_no_json_are_named(data: bytes) -> None:
    with pytest.raises(StoreError, match=r"plan\.json is not JSON"):
        codec.decode_stored(data, RunPlan, "plan.json")


@pytest.mark.parametrize("data", [b"[]", b"3", b'{"schema_version": "one"}', b"{}"])
def test_json_of_another_shape_is_refused(data: bytes) -> None:
    with pytest.raises(StoreError, match=r"run\.json does not hold what it should"):
        codec.decode_stored(data, RunResult, "run.json")


def describe(**settings: int) -> Description:
    return Description(
        mode="eager",
        native_device="host",
        settings=dict(settings),
        versions={},
        parameter_count=1,
        batch_size=16,
    )


def test_equal_digests_mean_the_same_experiment() -> None:
    cell = sample_cell()
    renamed = msgspec.structs.replace(cell, id="another.name")
    assert codec.digest(cell, describe(threads=1)) == codec.digest(renamed, describe(threads=1))


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"threads": 2}, {"batch_size": 8}, {"variant": "graph"}, {"options": {"slow": 2}}]
)
def test_another_experiment_has_another_digest(change: dict[str, Any]) -> None:
    assert codec.digest(sample_cell(), describe()) != codec.digest(sample_cell(**change), describe())


def test_other_settings_read_back_make_another_digest() -> None:
    assert codec.digest(sample_cell(), describe(threads=1)) != codec.digest(
        sample_cell(), describe(threads=2)
    )


def properties_of(schema: dict[str, Any]) -> set[str]:
    name = schema["$ref"].rpartition("/")[2]
    return set(schema["$defs"][name]["properties"])


@pytest.mark.parametrize("type_", [RunResult, RunPlan, RunRequest])
def test_the_published_schema_names_every_field_and_no_other(type_: type[msgspec.Struct]) -> None:
    schema = codec.json_schema(type_)
    assert properties_of(schema) == set(type_.__struct_fields__)
    assert schema["$defs"][type_.__name__]["additionalProperties"] is False
