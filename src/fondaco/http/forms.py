"""The fields of a form into a struct, with the same issues for what does not fit as a JSON body has."""

from __future__ import annotations

import contextlib
import math
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from fondaco.http.validation import decode
from fondaco.media.multipart import Form

T = TypeVar("T", bound=msgspec.Struct)

_WORDS = {
    "true": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "0": False,
    "no": False,
    "off": False,
}


def decode_form(form: Form, type_: type[T]) -> T:
    """The form's fields as a `type_`; those that it does not name are passed over, an empty one is as if not sent.

    A list's field may come several times, as itself or with `[]` after its name. Raises InvalidRequest.
    """
    members: dict[str, Any] = {}
    for field in msgspec.structs.fields(type_):
        name, kinds = field.encode_name, _kinds(field.type)
        if inspect.ListType in kinds:
            if texts := form.texts(name):
                members[name] = texts
        elif text := form.text(name):
            members[name] = _value(text, kinds)
    return decode(msgspec.json.encode(members), type_)


def _kinds(type_: Any) -> set[type[inspect.Type]]:
    info = inspect.type_info(type_)
    return {type(each) for each in (info.types if isinstance(info, inspect.UnionType) else (info,))}


def _value(text: str, kinds: set[type[inspect.Type]]) -> object:
    """What a text stands for; the text itself where it is not of the kind that is wanted."""
    if inspect.BoolType in kinds:
        return _WORDS.get(text.strip().lower(), text)
    if kinds & {inspect.FloatType, inspect.IntType}:
        with contextlib.suppress(ValueError):
            number = float(text)
            if math.isfinite(number):
                return int(number) if number.is_integer() else number
    return text
