"""Reading JSON bodies: what is taken, what is refused, and how the refusal is put."""

from __future__ import annotations

import traceback
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta, Raw

from fondaco.errors import InvalidRequest, Issue, MalformedJson
from fondaco.http.issues import MAX_ISSUES
from fondaco.http.validation import MAX_VALUES, decode, error_details


class Cat(msgspec.Struct, tag="cat", tag_field="kind"):
    lives: Annotated[int, Meta(ge=1, le=9)]


class Dog(msgspec.Struct, tag="dog", tag_field="kind"):
    name: str


class Basket(msgspec.Struct, forbid_unknown_fields=True):
    size: Annotated[int, Meta(gt=0)]
    owner: Annotated[str, Meta(min_length=1, max_length=5)]
    pets: Annotated[list[Cat | Dog], Meta(min_length=1, max_length=3)]
    colour: Literal["red", "blue"] = "red"
    soft: bool | None = None
    weight: Annotated[float, Meta(ge=0, le=2)] | None = None
    tag: Annotated[str, Meta(pattern="^[a-z]+$", description="lower-case letters")] | None = None
    notes: dict[str, int] | None = None
    stop: str | list[str] | None = None
    extra: dict[str, Raw] | None = None


class Pair(msgspec.Struct):
    low: int
    high: int

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low must not be above high")


class Shelf(msgspec.Struct):
    pairs: tuple[Pair, ...] = ()


GOOD: dict[str, Any] = {"size": 1, "owner": "ann", "pets": [{"kind": "cat", "lives": 9}]}


def issues_of(body: dict[str, Any] | bytes, type_: Any = Basket) -> list[Issue]:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    with pytest.raises(InvalidRequest) as caught:
        decode(raw, type_)
    return list(caught.value.issues)


def one(**changed: Any) -> tuple[str, tuple[str | int, ...], str]:
    (issue,) = issues_of(GOOD | changed)
    return issue.code, issue.path, issue.message


def test_a_good_body_becomes_its_struct() -> None:
    basket = decode(msgspec.json.encode(GOOD | {"soft": None, "weight": 2}), Basket)
    assert basket.pets == [Cat(lives=9)]
    assert basket.weight == 2.0


@pytest.mark.parametrize(
    ("changed", "code", "path", "message"),
    [
        ({"size": "1"}, "invalid_type", ("size",), "Expected integer, received string"),
        ({"size": 1.5}, "invalid_type", ("size",), "Expected integer, received float"),
        ({"size": None}, "invalid_type", ("size",), "Expected integer, received null"),
        ({"size": 0}, "too_small", ("size",), "Number must be greater than 0"),
        ({"weight": -0.1}, "too_small", ("weight",), "Number must be greater than or equal to 0"),
        ({"weight": 2.1}, "too_big", ("weight",), "Number must be less than or equal to 2"),
        ({"owner": 7}, "invalid_type", ("owner",), "Expected string, received number"),
        ({"owner": ""}, "too_small", ("owner",), "String must contain at least 1 character(s)"),
        ({"owner": "abcdef"}, "too_big", ("owner",), "String must contain at most 5 character(s)"),
        ({"tag": "A"}, "invalid_string", ("tag",), "Invalid string: lower-case letters"),
        (
            {"colour": "green"},
            "invalid_enum_value",
            ("colour",),
            "Invalid enum value. Expected 'blue' | 'red'",
        ),
        ({"colour": 1}, "invalid_type", ("colour",), "Expected 'blue' | 'red', received number"),
        ({"soft": 1}, "invalid_type", ("soft",), "Expected boolean, received number"),
        ({"pets": []}, "too_small", ("pets",), "Array must contain at least 1 element(s)"),
        ({"pets": [1, 2, 3, 4]}, "too_big", ("pets",), "Array must contain at most 3 element(s)"),
        ({"pets": {}}, "invalid_type", ("pets",), "Expected array, received object"),
        ({"pets": [7]}, "invalid_type", ("pets", 0), "Expected object, received number"),
        (
            {"pets": [{"kind": "cow"}]},
            "invalid_union_discriminator",
            ("pets", 0, "kind"),
            "Invalid discriminator value. Expected 'cat' | 'dog'",
        ),
        (
            {"pets": [{"lives": 3}]},
            "invalid_union_discriminator",
            ("pets", 0, "kind"),
            "Invalid discriminator value. Expected 'cat' | 'dog'",
        ),
        ({"pets": [{"kind": "dog"}]}, "invalid_type", ("pets", 0, "name"), "Required"),
        ({"notes": {"a": "b"}}, "invalid_type", ("notes", "a"), "Expected integer, received string"),
        ({"stop": 4}, "invalid_type", ("stop",), "Expected string | array, received number"),
        ({"stop": ["a", 4]}, "invalid_type", ("stop", 1), "Expected string, received number"),
        ({"extra": [1]}, "invalid_type", ("extra",), "Expected object, received array"),
    ],
)
def test_each_fault_is_named_with_its_path_and_what_is_allowed(
    changed: dict[str, Any], code: str, path: tuple[str | int, ...], message: str
) -> None:
    assert one(**changed) == (code, path, message)


def test_all_faults_are_told_at_once() -> None:
    issues = issues_of({"size": 0, "pets": [{"kind": "cat", "lives": 10}, {"kind": "dog"}], "colour": "x"})
    assert [issue.path for issue in issues] == [
        ("size",),
        ("owner",),
        ("pets", 0, "lives"),
        ("pets", 1, "name"),
        ("colour",),
    ]


def test_unknown_keys_are_listed_in_one_issue_at_the_root() -> None:
    (issue,) = issues_of(GOOD | {"foo": 1, "bar": 2})
    assert issue == Issue(
        code="unrecognized_keys",
        path=(),
        message="Unrecognized key(s) in object: 'foo', 'bar'",
        keys=("foo", "bar"),
    )


def test_names_of_unknown_keys_are_cut_short_and_few() -> None:
    (issue,) = issues_of(GOOD | {f"{index}{'x' * 1000}": 1 for index in range(1000)})
    assert len(issue.message) < 2000
    assert len(issue.keys) == 20
    assert issue.message.endswith("and 980 more")


def test_a_rule_of_the_types_own_is_said_where_it_is_broken() -> None:
    (issue,) = issues_of(b'{"pairs":[{"low":1,"high":2},{"low":3,"high":2}]}', Shelf)
    assert (issue.code, issue.path, issue.message) == ("custom", ("pairs", 1), "low must not be above high")


def test_a_key_given_twice_is_refused_though_its_last_value_fits() -> None:
    body = msgspec.json.encode(GOOD)[:-1] + b',"weight":7,"weight":1}'
    (issue,) = issues_of(body)
    assert issue.code == "custom"


def test_numbers_too_large_for_any_field_are_out_of_range() -> None:
    body = msgspec.json.encode(GOOD)[:-1] + b',"weight":1e999}'
    assert [issue.message for issue in issues_of(body)] == ["Number is out of range"]
    body = b'{"owner":"a","pets":[{"kind":"dog","name":"x"}],"size":' + b"9" * 5000 + b"}"
    assert [issue.message for issue in issues_of(body)] == ["Number is out of range"]


def test_the_list_of_faults_ends() -> None:
    assert len(issues_of(b'{"pairs":[' + b",".join([b"{}"] * 10_000) + b"]}", Shelf)) == MAX_ISSUES


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"size":}',
        b'{"size":1} x',
        b"\xef\xbb\xbf{}",
        b"\xff",
        b'{"size":"bad","owner":',
        b'{"size":1,"owner":"\xff"}',
        b'{"size":1,"owner":"ann","pets":[{"kind":"dog","name":"x"}],"extra":{"a":"\xff"}}',
        b'{"size":"bad","extra":{"a":"\xff"}}',
        b'{"size":1,"owner":"ann","pets":[{"kind":"dog","name":"\\ud800"}]}',
        b"[" * 100_000,
        b'{"size":"bad","extra":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
    ],
)
def test_what_is_not_json_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedJson):
        decode(body, Basket)


def test_utf8_beyond_ascii_is_read_in_any_place() -> None:
    body = '{"size":1,"owner":"änn","pets":[{"kind":"dog","name":"犬"}],"extra":{"é":"😀"}}'.encode()
    basket = decode(body, Basket)
    assert basket.owner == "änn"
    large = body[:-3] + "é".encode() * (3 << 20) + b'"}}'
    assert len(bytes(decode(large, Basket).extra["é"])) > 3 << 20  # type: ignore[index]


@pytest.mark.parametrize("body", [b'{"owner":"canary-7f3a"}', b'{"owner":"canary-7f3a'])
def test_a_refusal_carries_nothing_of_the_body(body: bytes) -> None:
    with pytest.raises((InvalidRequest, MalformedJson)) as caught:
        decode(body, Basket)
    assert caught.value.__cause__ is None
    told = "".join(traceback.format_exception(caught.value))
    assert "canary" not in told
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_a_body_with_millions_of_values_is_refused_before_any_is_made() -> None:
    for item in (b"1", b'{"kind":"dog","name":"x"}', b'","'):
        body = b'{"pets":[' + b",".join([item] * (MAX_VALUES + 2)) + b"]}"
        (issue,) = issues_of(body)
        assert (issue.code, issue.path) == ("too_big", ())


def test_commas_in_long_text_are_no_values() -> None:
    text = 'a,b\\",' * MAX_VALUES
    body = b'{"size":1,"owner":"ann","pets":[{"kind":"dog","name":"' + text.encode() + b'"}]}'
    assert isinstance(decode(body, Basket).pets[0], Dog)


def test_details_are_a_tree_by_field_name() -> None:
    issues = issues_of(GOOD | {"pets": [{"kind": "cat", "lives": 0}], "foo": 1})
    assert error_details(issues) == {
        "_errors": ["Unrecognized key(s) in object: 'foo'"],
        "pets": {
            "_errors": [],
            "0": {
                "_errors": [],
                "lives": {"_errors": ["Number must be greater than or equal to 1"]},
            },
        },
    }


def test_a_callers_key_cannot_take_the_place_of_the_list_of_errors() -> None:
    issues = issues_of(GOOD | {"notes": {"_errors": "x", "a": "y"}})
    assert error_details(issues)["notes"] == {
        "_errors": ["Expected integer, received string"],
        "a": {"_errors": ["Expected integer, received string"]},
    }


def test_no_issues_make_an_empty_tree() -> None:
    assert error_details([]) == {"_errors": []}
