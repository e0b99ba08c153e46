"""All faults of a refused body, found by walking the struct that refused it.

At each place msgspec itself says whether the value fits; where it does, the walk goes no deeper, and where it does
not, the walk finds out why. So it cannot disagree with the decoder. Codes and sentences are zod's, which is what
clients of the contract parse; a value that was sent is never repeated, only names of keys, and those cut short.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, Final, Literal, cast
from uuid import UUID

import msgspec
from msgspec import Meta, Raw, inspect

from fondaco.errors import Issue, PathPart

MAX_ISSUES: Final = 50
MAX_KEYS: Final = 20
MAX_KEY_LENGTH: Final = 64

Path = tuple[PathPart, ...]
Kind = str


def find_issues(body: bytes, type_: Any) -> list[Issue]:
    """What keeps `body` from being a `type_`, MAX_ISSUES at most; empty if nothing does.

    Raises msgspec.DecodeError or RecursionError if `body` is not JSON at all.
    """
    msgspec.json.decode(body, type=Raw)
    walk = _Walk()
    walk.check(_shape(type_), body, ())
    return walk.issues


class _Shape:
    """A place in a type: what stands there, and a decoder for it alone."""

    __slots__ = ("_decoder", "_members", "about", "info")

    def __init__(self, info: inspect.Type) -> None:
        self.about: str | None = None
        """The description given with the type, for rules that no code can name."""
        while isinstance(info, inspect.Metadata):
            extra = cast("dict[str, Any]", info.extra_json_schema or {})  # pyright: ignore[reportUnknownMemberType]
            self.about = extra.get("description", self.about)
            info = info.type
        self.info = info
        self._decoder: msgspec.json.Decoder[Any] | None = None
        self._members: dict[int, _Shape] = {}

    def fits(self, raw: bytes | Raw) -> tuple[bool, str | None]:
        """Whether the decoder takes `raw`; if not, what the type's own `__post_init__` said, if that was it."""
        if self._decoder is None:
            self._decoder = msgspec.json.Decoder(_annotation(self.info))
        try:
            self._decoder.decode(raw)
        except msgspec.ValidationError as refusal:
            # Other causes are the decoder's, and its sentences repeat what was sent.
            rule = refusal.__cause__
            return False, str(rule) if isinstance(rule, (ValueError, TypeError)) else None
        return True, None

    def of(self, info: inspect.Type) -> _Shape:
        """The shape of a part of this one, made once."""
        shape = self._members.get(id(info))
        if shape is None:
            shape = self._members[id(info)] = _Shape(info)
        return shape


@cache
def _shape(type_: Any) -> _Shape:
    return _Shape(inspect.type_info(type_))


class _Walk:
    def __init__(self) -> None:
        self.issues: list[Issue] = []

    def check(self, shape: _Shape, raw: bytes | Raw, path: Path) -> None:
        """Adds the faults of the value at `path`, if it has any."""
        fits, said = shape.fits(raw)
        if not fits:
            self.explain(shape, raw, path, said)

    def explain(self, shape: _Shape, raw: bytes | Raw, path: Path, said: str | None) -> None:
        """Adds at least one issue for a value that its decoder refused."""
        known = len(self.issues)
        info = shape.info
        kind = _kind(raw)
        if isinstance(info, inspect.UnionType):
            self._union(shape, info, raw, kind, path, said)
        elif kind not in _kinds(info):
            self._add("invalid_type", path, f"Expected {_expected(info)}, received {kind}")
        elif isinstance(info, inspect.StructType):
            self._struct(shape, info, raw, path)
        elif isinstance(info, inspect.CollectionType):
            self._array(shape, info, raw, path)
        elif isinstance(info, inspect.DictType):
            self._dict(shape, info, raw, path)
        else:
            self._scalar(shape, info, raw, path)
        if len(self.issues) == known:
            # A rule of the type's own, or a key that stands twice and whose first value is wrong.
            self._add("custom", path, said or "Invalid input")

    @property
    def _full(self) -> bool:
        return len(self.issues) >= MAX_ISSUES

    def _add(self, code: str, path: Path, message: str, keys: tuple[str, ...] = ()) -> None:
        if not self._full:
            self.issues.append(Issue(code=code, path=path, message=message, keys=keys))

    def _struct(self, shape: _Shape, info: inspect.StructType, raw: bytes | Raw, path: Path) -> None:
        members = msgspec.json.decode(raw, type=dict[str, Raw])
        if info.forbid_unknown_fields:
            known = {field.encode_name for field in info.fields} | {info.tag_field}
            self._unknown([key for key in members if key not in known], path)
        if info.tag_field is not None and info.tag_field in members:
            self._tag((info,), info.tag_field, members, path)
        for field in info.fields:
            if self._full:
                break
            value = members.get(field.encode_name)
            if value is not None:
                self.check(shape.of(field.type), value, (*path, field.encode_name))
            elif field.required:
                self._add("invalid_type", (*path, field.encode_name), "Required")

    def _unknown(self, keys: Sequence[str], path: Path) -> None:
        if keys:
            named = tuple(_cut(key) for key in keys[:MAX_KEYS])
            listed = ", ".join(f"'{key}'" for key in named)
            more = f" and {len(keys) - MAX_KEYS} more" if len(keys) > MAX_KEYS else ""
            self._add("unrecognized_keys", path, f"Unrecognized key(s) in object: {listed}{more}", named)

    def _dict(self, shape: _Shape, info: inspect.DictType, raw: bytes | Raw, path: Path) -> None:
        members = msgspec.json.decode(raw, type=dict[str, Raw])
        if info.max_length is not None and len(members) > info.max_length:
            self._add("too_big", path, f"Object must contain at most {info.max_length} key(s)")
            return
        if info.min_length is not None and len(members) < info.min_length:
            self._add("too_small", path, f"Object must contain at least {info.min_length} key(s)")
            return
        for key, value in members.items():
            if self._full:
                break
            self.check(shape.of(info.value_type), value, (*path, _cut(key)))

    def _array(self, shape: _Shape, info: inspect.CollectionType, raw: bytes | Raw, path: Path) -> None:
        items = msgspec.json.decode(raw, type=list[Raw])
        if info.min_length is not None and len(items) < info.min_length:
            self._add("too_small", path, f"Array must contain at least {info.min_length} element(s)")
        elif info.max_length is not None and len(items) > info.max_length:
            self._add("too_big", path, f"Array must contain at most {info.max_length} element(s)")
        else:
            item_shape = shape.of(info.item_type)
            for index, item in enumerate(items):
                if self._full:
                    break
                self.check(item_shape, item, (*path, index))

    def _union(
        self,
        shape: _Shape,
        info: inspect.UnionType,
        raw: bytes | Raw,
        kind: Kind,
        path: Path,
        said: str | None,
    ) -> None:
        members = [(member, _bare(member)) for member in info.types]
        fitting = [(member, bare) for member, bare in members if kind in _kinds(bare)]
        structs = [bare for _, bare in fitting if isinstance(bare, inspect.StructType)]
        if not fitting:
            wanted = [_expected(bare) for _, bare in members if not isinstance(bare, inspect.NoneType)]
            self._add("invalid_type", path, f"Expected {' | '.join(dict.fromkeys(wanted))}, received {kind}")
        elif len(fitting) == 1:
            self.explain(shape.of(fitting[0][0]), raw, path, said)
        elif len(structs) == len(fitting) and (tag_field := structs[0].tag_field) is not None:
            chosen = self._tag(structs, tag_field, msgspec.json.decode(raw, type=dict[str, Raw]), path)
            if chosen is not None:
                self.explain(shape.of(chosen), raw, path, said)
        else:
            wanted = [_expected(bare) for _, bare in fitting]
            self._add("invalid_union", path, f"Expected {' | '.join(wanted)}")

    def _tag(
        self,
        structs: Sequence[inspect.StructType],
        tag_field: str,
        members: dict[str, Raw],
        path: Path,
    ) -> inspect.StructType | None:
        """The struct that the tag names; otherwise an issue and None."""
        raw = members.get(tag_field)
        value = None if raw is None or _kind(raw) != "string" else msgspec.json.decode(raw, type=str)
        for struct in structs:
            if struct.tag == value:
                return struct
        listed = " | ".join(f"'{struct.tag}'" for struct in structs)
        message = f"Invalid discriminator value. Expected {listed}"
        self._add("invalid_union_discriminator", (*path, tag_field), message)
        return None

    def _scalar(self, shape: _Shape, info: inspect.Type, raw: bytes | Raw, path: Path) -> None:
        if isinstance(info, inspect.LiteralType):
            self._add("invalid_enum_value", path, f"Invalid enum value. Expected {_expected(info)}")
        elif isinstance(info, inspect.EnumType):
            listed = " | ".join(f"'{member.value}'" for member in info.cls)
            self._add("invalid_enum_value", path, f"Invalid enum value. Expected {listed}")
        elif isinstance(info, (inspect.IntType, inspect.FloatType)):
            self._number(info, raw, path)
        elif isinstance(info, inspect.StrType):
            self._string(shape, info, raw, path)
        else:
            self._add("invalid_string", path, f"Invalid {_expected(info)}")

    def _number(self, info: inspect.IntType | inspect.FloatType, raw: bytes | Raw, path: Path) -> None:
        try:
            value = msgspec.json.decode(raw, type=int | float)
        except msgspec.ValidationError:
            self._add("too_big", path, "Number is out of range")
            return
        if isinstance(info, inspect.IntType) and isinstance(value, float):
            self._add("invalid_type", path, "Expected integer, received float")
        elif info.ge is not None and value < info.ge:
            self._add("too_small", path, f"Number must be greater than or equal to {info.ge}")
        elif info.gt is not None and value <= info.gt:
            self._add("too_small", path, f"Number must be greater than {info.gt}")
        elif info.le is not None and value > info.le:
            self._add("too_big", path, f"Number must be less than or equal to {info.le}")
        elif info.lt is not None and value >= info.lt:
            self._add("too_big", path, f"Number must be less than {info.lt}")
        elif info.multiple_of is not None:
            self._add("not_multiple_of", path, f"Number must be a multiple of {info.multiple_of}")

    def _string(self, shape: _Shape, info: inspect.StrType, raw: bytes | Raw, path: Path) -> None:
        value = msgspec.json.decode(raw, type=str)
        if info.min_length is not None and len(value) < info.min_length:
            self._add("too_small", path, f"String must contain at least {info.min_length} character(s)")
        elif info.max_length is not None and len(value) > info.max_length:
            self._add("too_big", path, f"String must contain at most {info.max_length} character(s)")
        elif info.pattern is not None:
            said = f"Invalid string: {shape.about}" if shape.about else f"String must match {info.pattern}"
            self._add("invalid_string", path, said)


_first_byte = re.compile(rb"[^ \t\r\n]")
_KIND_OF = {b"{": "object", b"[": "array", b'"': "string", b"t": "boolean", b"f": "boolean", b"n": "null"}


def _kind(raw: bytes | Raw) -> Kind:
    """The JSON type of a whole value, in zod's words."""
    found = _first_byte.search(memoryview(raw))
    return _KIND_OF.get(found.group(), "number") if found else "undefined"


def _bare(info: inspect.Type) -> inspect.Type:
    while isinstance(info, inspect.Metadata):
        info = info.type
    return info


def _kinds(info: inspect.Type) -> tuple[Kind, ...]:
    """The JSON types that a value of this type can have."""
    match info:
        case inspect.NoneType():
            return ("null",)
        case inspect.BoolType():
            return ("boolean",)
        case inspect.IntType() | inspect.FloatType():
            return ("number",)
        case inspect.LiteralType():
            return tuple({"string" if isinstance(value, str) else "number" for value in info.values})
        case inspect.EnumType():
            return tuple({"string" if isinstance(member.value, str) else "number" for member in info.cls})
        case inspect.CollectionType() | inspect.TupleType():
            return ("array",)
        case inspect.StructType() | inspect.DictType():
            return ("object",)
        case inspect.AnyType() | inspect.RawType():
            return ("object", "array", "string", "boolean", "null", "number")
        case _:
            return ("string",)


def _expected(info: inspect.Type) -> str:
    match info:
        case inspect.IntType():
            return "integer"
        case inspect.LiteralType():
            return " | ".join(f"'{value}'" for value in info.values)
        case inspect.DateTimeType():
            return "datetime"
        case inspect.UUIDType():
            return "uuid"
        case _:
            return _kinds(info)[0]


def _cut(key: str) -> str:
    return key if len(key) <= MAX_KEY_LENGTH else key[: MAX_KEY_LENGTH - 1] + "…"


def _annotation(info: inspect.Type) -> Any:
    """The type that msgspec would read as `info`, to make a decoder of a part of a struct."""
    match info:
        case inspect.Metadata():
            return _annotation(info.type)
        case inspect.StructType() | inspect.EnumType():
            return info.cls
        case inspect.UnionType():
            joined = _annotation(info.types[0])
            for member in info.types[1:]:
                joined = joined | _annotation(member)
            return joined
        case inspect.CollectionType():
            item = _annotation(info.item_type)
            plain = tuple[item, ...] if isinstance(info, inspect.VarTupleType) else list[item]
            return _limited(plain, info, "min_length", "max_length")
        case inspect.DictType():
            plain = dict[_annotation(info.key_type), _annotation(info.value_type)]
            return _limited(plain, info, "min_length", "max_length")
        case inspect.IntType():
            return _limited(int, info, "gt", "ge", "lt", "le", "multiple_of")
        case inspect.FloatType():
            return _limited(float, info, "gt", "ge", "lt", "le", "multiple_of")
        case inspect.StrType():
            return _limited(str, info, "min_length", "max_length", "pattern")
        case inspect.LiteralType():
            return operator.getitem(cast("Any", Literal), info.values)
        case _:
            return _PLAIN.get(type(info), Any)


def _limited(plain: Any, info: inspect.Type, *limits: str) -> Any:
    given = {name: limit for name in limits if (limit := getattr(info, name)) is not None}
    return Annotated[plain, Meta(**given)] if given else plain


_PLAIN: Final[dict[type[inspect.Type], Any]] = {
    inspect.NoneType: None,
    inspect.BoolType: bool,
    inspect.RawType: Raw,
    inspect.BytesType: bytes,
    inspect.UUIDType: UUID,
    inspect.DecimalType: Decimal,
    inspect.DateTimeType: datetime,
    inspect.DateType: date,
}
"""Types that need nothing said about them. Any other is taken as it comes, and its parent named instead."""
