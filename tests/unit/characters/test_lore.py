"""Which lorebook entries a conversation calls up, in which order and how many (Character Card V2 and V3)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from fondaco.characters import decorators
from fondaco.characters.card import Book
from fondaco.characters.lore import Said, called_up
from fondaco.characters.macros import Macros


def entry(content: str, *keys: str, **more: Any) -> dict[str, Any]:
    return {"content": content, "keys": list(keys), "enabled": True, "insertion_order": 100, **more}


def said(
    entries: Sequence[dict[str, Any]],
    *turns: str,
    spoken: int = 0,
    greeted: bool = False,
    context: int = 100_000,
    **book: Any,
) -> list[Said]:
    made = msgspec.convert({"entries": entries, **book}, Book)
    return called_up(
        made,
        turns,
        spoken=spoken,
        greeted=greeted,
        expand=Macros("Nell", "Tom"),
        tokens=len,
        context_tokens=context,
    )


def texts(entries: Sequence[dict[str, Any]], *turns: str, **more: Any) -> list[str]:
    return [each.text for each in said(entries, *turns, **more)]


MILL = entry("The mill stands by the weir.", "mill", "flour")


def test_an_entry_is_called_up_by_any_of_its_keys_and_told_once() -> None:
    assert texts([MILL], "Tell me of the mill, the mill and its flour") == ["The mill stands by the weir."]
    assert texts([MILL], "Tell me of the weir") == []
    assert texts([MILL]) == []


def test_upper_and_lower_case_are_the_same_unless_the_entry_says_otherwise() -> None:
    assert texts([MILL], "MILL") != []
    assert texts([entry("a", "Mill", case_sensitive=False)], "mill") == ["a"]
    assert texts([entry("a", "Mill", case_sensitive=True)], "mill") == []
    assert texts([entry("a", "Mill", case_sensitive=True)], "the Mill") == ["a"]


def test_only_the_latest_turns_are_looked_through() -> None:
    turns = ["the mill", "yes", "so", "well", "hm"]
    assert texts([MILL], *turns) == []
    assert texts([MILL], *turns[:4]) != []
    assert texts([MILL], *turns, scan_depth=5) != []
    assert texts([MILL], *turns, scan_depth=0) == []
    assert texts([entry("@@scan_depth 5\na", "mill")], *turns, scan_depth=1) == ["a"]
    assert texts([entry("@@scan_depth 1\na", "mill")], "the mill", "yes", scan_depth=9) == []


def test_a_disabled_or_empty_entry_is_never_told() -> None:
    odd = [
        entry("a", "mill", enabled=False, constant=True),
        entry("", "mill"),
        entry(" \n", constant=True),
        entry("@@depth 2\n", "mill"),
        entry("a", "", " "),
    ]
    assert texts(odd, "the mill") == []


def test_a_constant_entry_is_always_told() -> None:
    assert texts([entry("a", "mill", constant=True)], "nothing of it") == ["a"]
    assert texts([entry("a", constant=True)]) == ["a"]


def test_a_selective_entry_needs_a_key_of_both_kinds() -> None:
    both = entry("a", "mill", selective=True, secondary_keys=["Night", "fog"])
    assert texts([both], "the mill") == []
    assert texts([both], "at night") == []
    assert texts([both], "the mill at night") == ["a"]
    assert texts([{**both, "selective": False}], "the mill") == ["a"]
    assert texts([{**both, "secondary_keys": []}], "the mill") == ["a"]


def test_lower_orders_come_first_and_equal_ones_as_they_stand() -> None:
    entries = [entry("c", "x", insertion_order=30), entry("a", "x", insertion_order=-1)]
    entries += [entry("b1", "x", insertion_order=2), entry("b2", "x", insertion_order=2)]
    assert texts(entries, "x") == ["a", "b1", "b2", "c"]


def test_beyond_the_budget_the_lowest_priority_goes_first() -> None:
    entries = [
        entry("aaaa", "x", insertion_order=1, priority=1),
        entry("bbbb", "x", insertion_order=2, priority=3),
        entry("cccc", "x", insertion_order=3, priority=2),
    ]
    assert texts(entries, "x", token_budget=12) == ["aaaa", "bbbb", "cccc"]
    assert texts(entries, "x", token_budget=11) == ["bbbb", "cccc"]
    assert texts(entries, "x", token_budget=4) == ["bbbb"]
    assert texts(entries, "x", token_budget=0) == []
    # Without priorities the lower order goes first.
    bare = [{**each, "priority": None} for each in entries]
    assert texts(bare, "x", token_budget=4) == ["cccc"]


def test_constant_entries_are_within_the_budget_too() -> None:
    assert texts([entry("aaaa", constant=True)], token_budget=3) == []


def test_without_a_budget_lore_takes_a_quarter_of_the_context_and_with_one_never_more_than_half() -> None:
    entries = [entry("a" * 20, "x"), entry("b" * 20, "x")]
    assert len(texts(entries, "x", context=160)) == 2
    assert len(texts(entries, "x", context=100)) == 1
    assert len(texts(entries, "x", context=60, token_budget=10_000)) == 1


def test_an_entry_can_call_up_another_where_the_book_says_so() -> None:
    chain = [entry("the weir", "mill"), entry("the otter", "weir"), entry("its holt", "otter")]
    assert texts(chain, "the mill") == ["the weir"]
    assert texts(chain, "the mill", recursive_scanning=False) == ["the weir"]
    assert texts(chain, "the mill", recursive_scanning=True) == ["the weir", "the otter", "its holt"]
    circle = [entry("see b", "a"), entry("see a", "b")]
    assert texts(circle, "a", recursive_scanning=True) == ["see b", "see a"]


def test_macros_hold_in_contents_and_keys() -> None:
    assert texts([entry("{{char}} knows {{user}}", "{{char}}")], "hello nell") == ["Nell knows Tom"]
    assert texts([entry("{{// nothing}}", "x")], "x") == []


def test_an_entry_goes_before_or_after_the_card() -> None:
    made = said(
        [entry("a", "x"), entry("b", "x", position="after_char"), entry("c", "x", position="odd")], "x"
    )
    assert [each.place for each in made] == ["before_desc", "after_desc", "before_desc"]


# Regular expressions.


def regex(pattern: str, **more: Any) -> dict[str, Any]:
    return entry("found", pattern, use_regex=True, **more)


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (r"dra(g|k)ons?", "two DRAKONS", True),
        (r"^mill", "the mill", False),
        (r"/^MILL/i", "mill", True),
        (r"/a.b/s", "a\nb", True),
        (r"/^b/m", "a\nb", True),
        (r"/b/", "abc", True),
        (r"(unclosed", "(unclosed", False),
        (r"(?<year>\d{4})", "in 1499", True),
        ("x" * 2000, "x" * 2000, False),
    ],
)
def test_a_regular_expression_is_looked_for(pattern: str, text: str, found: bool) -> None:
    assert (texts([regex(pattern)], text) == ["found"]) is found


def test_with_regular_expressions_constant_and_second_keys_do_not_count() -> None:
    assert texts([regex("no", constant=True)], "yes") == []
    assert texts([regex("yes", selective=True, secondary_keys=["no"])], "yes") == ["found"]
    assert texts([regex("Yes", case_sensitive=True)], "yes") == []


def test_an_expression_that_would_take_for_ever_is_not_found_in_time() -> None:
    hostile = [regex(r"(a|aa)+$"), regex(r"(\w+\s?)+!$"), regex(r"^(([a-z])+.)+[A-Z]([a-z])+$")]
    started = time.perf_counter()
    assert texts([*hostile, MILL], "a" * 5000 + " the mill") == ["The mill stands by the weir."]
    assert time.perf_counter() - started < 1


# Decorators.


@pytest.mark.parametrize(
    ("content", "spoken", "told"),
    [
        ("@@activate_only_after 2\na", 1, False),
        ("@@activate_only_after 2\na", 2, True),
        ("@@activate_only_every 3\na", 4, False),
        ("@@activate_only_every 3\na", 6, True),
        ("@@activate_only_every 0\na", 5, True),
        ("@@dont_activate\na", 0, False),
        ("@@dont_activate\n@@activate\na", 0, True),
        ("@@additional_keys night, fog\na", 0, False),
        ("@@additional_keys dust, wheel\na", 0, True),
        ("@@exclude_keys night\na", 0, True),
        ("@@exclude_keys night, wheel\na", 0, False),
        ("@@some_other_program 5\n@@@activate_only_after 9\na", 1, False),
        ("@@scan_depth many\n@@@nothing_known\n@@@dont_activate\na", 1, False),
        ("@@scan_depth 3\n@@@dont_activate\na", 1, True),
        ("@@activate_only_after 1\n@@activate_only_after 99\na", 1, True),
        ("@@keep_activate_after_match\n@@ignore_on_max_context\n@@is_user_icon x\na", 0, True),
    ],
)
def test_decorators_that_need_no_memory_are_obeyed(content: str, spoken: int, told: bool) -> None:
    assert texts([entry(content, "mill")], "the mill wheel", spoken=spoken) == (["a"] if told else [])


def test_an_entry_for_another_greeting_is_not_told_after_ours() -> None:
    second = entry("@@is_greeting 1\na", "x")
    assert texts([second], "x", greeted=True) == []
    assert texts([second], "x", greeted=False) == ["a"]
    assert texts([entry("@@is_greeting 0\na", "x")], "x", greeted=True) == ["a"]


def test_an_entry_that_is_to_be_told_needs_no_key() -> None:
    assert texts([entry("@@activate\n\na", "never")], "x") == ["a"]


def test_an_entry_can_go_among_the_turns() -> None:
    made = said(
        [
            entry("@@depth 2\n@@role assistant\na", "x"),
            entry("@@reverse_depth 1\nb", "x"),
            entry("@@depth 0\nc", "x"),
            entry("@@position scenario\n@@depth 3\nd", "x"),
            entry("@@position nowhere\n@@@position personality\ne", "x"),
            entry("@@role narrator\nf", "x"),
        ],
        *("x",) * 5,
    )
    assert [(each.text, each.place, each.depth, each.role) for each in made] == [
        ("a", "before_desc", 2, "assistant"),
        ("b", "before_desc", 4, "system"),
        ("c", "before_desc", 0, "system"),
        ("d", "scenario", None, "system"),
        ("e", "personality", None, "system"),
        ("f", "before_desc", None, "system"),
    ]


@pytest.mark.parametrize(
    ("content", "left"),
    [
        ("@@depth 4\n\nThe weir.\nIt roars.\n", "The weir.\nIt roars."),
        ("\n@@a\n@@@b 1,2\n@@c\nText @@d\n@@e stays", "Text @@d\n@@e stays"),
        ("@@", ""),
        ("@@depth 1", ""),
        ("@@depth 99999999999999999999\nx", "x"),
    ],
)
def test_decorators_are_taken_from_the_text(content: str, left: str) -> None:
    assert decorators.read(content).content == left
