"""Records to JSON and back: strict at live doors, lenient only for stored files of the same major.

Owns frames on sockets, digests and the published JSON Schema. Knows no path and no process.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from fwprof.errors import StoreError
from fwprof.records import SCHEMA_VERSION, CellPlan, Description

T = TypeVar("T")

FRAME_LIMIT = 256 * 2**20
"""Longest frame accepted, bytes: a longer one is a broken peer."""
_HEADER = struct.Struct(">I")


def encode(record: object) -> bytes:
    """Return the record as compact JSON."""
    return msgspec.json.encode(record)


def encode_pretty(record: object) -> bytes:
    """Return the record as indented JSON with a final newline, for people and diffs."""
    return msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"


def decode_stored(data: bytes, type_: type[T], source: str) -> T:
    """Decode a stored record; fields that a later minor version added are ignored.

    Args:
        data: JSON.
        type_: the record type.
        source: what to call the file in an error.

    Raises:
        StoreError: not JSON, of a newer major schema version, or not of this type.
    """
    try:
        record = msgspec.json.decode(data, type=type_)
        _refuse_newer(getattr(record, "schema_version", SCHEMA_VERSION), source)
        return record
    except (msgspec.MsgspecError, UnicodeDecodeError):
        # Only now the slow, lenient way: the file is newer, or it is broken.
        try:
            raw = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StoreError(f"{source} is not JSON", cause=str(error)) from error
        if isinstance(raw, dict):
            _refuse_newer(raw.get("schema_version", SCHEMA_VERSION), source)
        try:
            return msgspec.convert(_prune(raw, inspect.type_info(type_)), type_)
        except msgspec.ValidationError as error:
            raise StoreError(f"{source} does not hold what it should", cause=str(error)) from error


def _refuse_newer(version: object, source: str) -> None:
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise StoreError(
            f"{source} was written by a newer fwprof",
            cause=f"schema version {version}; this fwprof reads up to {SCHEMA_VERSION}",
            next="pip install --upgrade fwprof",
        )


def _prune(value: Any, type_: inspect.Type) -> Any:
    """Return value without the object fields that type_ does not know."""
    if isinstance(type_, inspect.UnionType):
        tagged = [t for t in type_.types if isinstance(t, inspect.StructType) and t.tag is not None]
        if isinstance(value, dict):
            for struct_type in tagged:
                if struct_type.tag_field and value.get(struct_type.tag_field) == struct_type.tag:
                    return _prune(value, struct_type)
        for member in type_.types:
            if isinstance(value, dict) and isinstance(member, inspect.StructType | inspect.DictType):
                return _prune(value, member)
            if isinstance(value, list) and isinstance(member, inspect.VarTupleType | inspect.ListType):
                return _prune(value, member)
        return value
    if isinstance(type_, inspect.StructType) and isinstance(value, dict):
        fields = {field.encode_name: field.type for field in type_.fields}
        known = {key: _prune(item, fields[key]) for key, item in value.items() if key in fields}
        if type_.tag_field and type_.tag_field in value:
            known[type_.tag_field] = value[type_.tag_field]
        return known
    if isinstance(type_, inspect.DictType) and isinstance(value, dict):
        return {key: _prune(item, type_.value_type) for key, item in value.items()}
    if isinstance(type_, inspect.VarTupleType | inspect.ListType) and isinstance(value, list):
        return [_prune(item, type_.item_type) for item in value]
    return value


def json_schema(type_: type) -> dict[str, Any]:
    """Return the JSON Schema of a record type."""
    return msgspec.json.schema(type_)


def digest(cell: CellPlan, description: Description) -> str:
    """Return the SHA-256 of a frozen cell: two equal digests mean the same experiment.

    What names the cell only within its run (`id`) is left out; what the framework read back is in.
    """
    frozen = msgspec.structs.replace(cell, id="")
    return hashlib.sha256(encode(frozen) + encode(description)).hexdigest()


def frame(record: object) -> bytes:
    """Return the record as one frame: four bytes of length (big-endian), then JSON.

    Raises:
        ValueError: the record is longer than FRAME_LIMIT.
    """
    body = encode(record)
    if len(body) > FRAME_LIMIT:
        raise ValueError(f"a frame of {len(body)} bytes is over the limit of {FRAME_LIMIT}")
    return _HEADER.pack(len(body)) + body


class FrameReader:
    """Cut a stream of bytes back into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take what arrived and yield the bodies of the frames that are now complete.

        Raises:
            ValueError: the peer announced a frame over FRAME_LIMIT.
        """
        self._buffer += data
        while len(self._buffer) >= _HEADER.size:
            (length,) = _HEADER.unpack_from(self._buffer)
            if length > FRAME_LIMIT:
                raise ValueError(f"a frame of {length} bytes was announced, over the limit of {FRAME_LIMIT}")
            if len(self._buffer) < _HEADER.size + length:
                return
            body = bytes(self._buffer[_HEADER.size : _HEADER.size + length])
            del self._buffer[: _HEADER.size + length]
            yield body
