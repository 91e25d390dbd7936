"""The base of every record that crosses a door (process, file, plugin)."""

from __future__ import annotations

import msgspec

Scalar = str | int | float | bool | None
"""A setting or option value as JSON can hold it."""


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A frozen value. Unknown fields are refused; `codec.decode_stored` is the one lenient reader.

    msgspec inherits `frozen` and `forbid_unknown_fields` but not `kw_only`: subclasses repeat it.
    """


class OrderBase(Record, frozen=True, kw_only=True, tag_field="type"):
    """Parent → worker."""


class ReportBase(Record, frozen=True, kw_only=True, tag_field="type"):
    """Worker → parent."""
