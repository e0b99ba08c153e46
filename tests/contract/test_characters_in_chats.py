"""What an engine is given of a character, by body and by suffix, streamed and not; and what the answer says of it."""

from __future__ import annotations

import base64
import io
from datetime import UTC, datetime
from typing import Any

import pytest
from PIL import Image

from card_files import raw
from fake_engines import stream, whole
from fondaco.characters.card import read
from fondaco.characters.character import Character
from fondaco.chat.system_prompts import IN_CHARACTER
from fondaco.errors import CharacterNotFound
from scripted_chat import LOCAL, USER, Gateway, in_cuts, in_json

pytestmark = pytest.mark.anyio

BORN = datetime(2026, 1, 1, tzinfo=UTC)
WHOLE = in_json(whole({"content": "Aye."}))
STREAM = in_cuts(stream({"content": "Aye."}), 64)

NELL = {"name": "Nell", "description": "{{char}} keeps the mill.", "first_mes": "Come in, {{user}}!"}
OFF = {"include_venice_system_prompt": False}


class Cards:
    """Characters by slug."""

    def __init__(self, **cards: dict[str, Any]) -> None:
        self._found = {slug: _character(slug, fields) for slug, fields in cards.items()}

    def find(self, slug: str) -> Character:
        if slug not in self._found:
            raise CharacterNotFound
        return self._found[slug]


def _character(slug: str, fields: dict[str, Any]) -> Character:
    card = read(raw({"spec": "chara_card_v2", "data": fields})).card
    return Character(slug=slug, id=slug, card=card, created_at=BORN, updated_at=BORN)


def gateway(answer: Any = WHOLE, system: str | None = "SERVER", **fields: Any) -> Gateway:
    return Gateway(answer, system=system, characters=Cards(nell={**NELL, **fields}))


async def given(
    *messages: dict[str, Any],
    system: str | None = "SERVER",
    fields: dict[str, Any] | None = None,
    **more: Any,
) -> list[dict[str, Any]]:
    """The messages that the engine gets for Nell, whose card has these fields."""
    house = gateway(system=system, **(fields or {}))
    parameters = {"character_slug": "nell", **more.pop("venice_parameters", {})}
    await house.whole(messages=list(messages) or USER, venice_parameters=parameters, **more)
    return house.engine.messages


def user(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": text, **more}


def system(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


async def test_a_character_stands_between_the_server_s_prompt_and_the_caller_s() -> None:
    first, *rest = await given(system("CALLER"), {"role": "developer", "content": "DEVELOPER"}, *USER)
    assert first["role"] == "system"
    places = [first["content"].index(told) for told in ("SERVER", "keeps the mill", "CALLER", "DEVELOPER")]
    assert places == sorted(places)
    assert rest == [assistant("Come in, User!"), *USER]


async def test_the_server_s_prompt_says_nothing_of_an_assistant_to_a_character() -> None:
    [first, *_] = await given(*USER, system=None)
    assert first["content"].startswith(IN_CHARACTER)
    assert "assistant" not in first["content"]
    assert str(datetime.now(UTC).year) in first["content"]


async def test_the_server_s_prompt_can_be_left_out() -> None:
    [first, *_] = await given(*USER, venice_parameters=OFF)
    assert "SERVER" not in first["content"]
    assert "keeps the mill" in first["content"]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("by", ["body", "suffix", "both"])
async def test_body_and_suffix_do_the_same_streamed_and_not(by: str, streamed: bool) -> None:
    house = gateway(STREAM if streamed else WHOLE)
    asked: dict[str, Any] = {"model": "m" if by == "body" else "m:character_slug=nell"}
    if by != "suffix":
        asked["venice_parameters"] = {"character_slug": "nell" if by == "body" else "nobody"}
    if streamed:
        echo = (await house.streamed(**asked))[0]["venice_parameters"]
    else:
        answer = await house.whole(**asked)
        assert answer["model"] == "m"
        echo = answer["venice_parameters"]
    assert echo["character_slug"] == "nell"
    assert echo["include_venice_system_prompt"] is True
    assert "keeps the mill" in house.engine.messages[0]["content"]
    assert house.engine.messages[1] == assistant("Come in, User!")


@pytest.mark.parametrize("slug", ["nobody", "", "NELL", "nell "])
async def test_an_unknown_character_is_404_and_no_engine_is_asked(slug: str) -> None:
    house = gateway()
    refused = await house.ask(venice_parameters={"character_slug": slug})
    assert (refused.status, refused.json["code"]) == (404, "CHARACTER_NOT_FOUND")
    refused = await house.ask(model="m:character_slug=" + slug.replace(" ", "%20"))
    assert (refused.status, refused.json["code"]) == (404, "CHARACTER_NOT_FOUND")
    assert house.engine.asked == []
    assert house.purse.ends == []


async def test_a_slug_longer_than_any_is_a_400() -> None:
    refused = await gateway().ask(venice_parameters={"character_slug": "x" * 201})
    assert refused.status == 400
    assert refused.json["issues"][0]["path"] == ["venice_parameters", "character_slug"]


async def test_a_character_changes_neither_the_model_nor_what_is_asked_of_it() -> None:
    house = gateway()
    await house.whole(temperature=0.3, max_tokens=7, venice_parameters={"character_slug": "nell"})
    assert house.engine.body == {"model": "theirs", "temperature": 0.3, "max_tokens": 7}


async def test_a_greeting_is_said_in_every_turn_of_a_conversation_that_does_not_begin_with_one() -> None:
    later = [*USER, assistant("Hello."), user("And then?")]
    [_, *rest] = await given(*later)
    assert rest == [assistant("Come in, User!"), *later]
    greeted = [assistant("Well met."), *USER]
    [_, *rest] = await given(*greeted)
    assert rest == greeted
    [_, *rest] = await given(*USER, fields={"first_mes": ""})
    assert rest == USER


async def test_the_user_is_called_by_the_name_in_the_messages() -> None:
    [_, greeting, *_] = await given(user("hi", name="Tom"), user("again"))
    assert greeting["content"] == "Come in, Tom!"


async def test_a_card_s_own_system_prompt_switches_the_server_s_off_and_that_is_said() -> None:
    house = gateway(system_prompt="You play {{char}}.")
    answer = await house.whole(venice_parameters={"character_slug": "nell"})
    assert answer["venice_parameters"]["include_venice_system_prompt"] is False
    first = house.engine.messages[0]["content"]
    assert first.startswith("You play Nell.\n\n")
    assert "SERVER" not in first


@pytest.mark.parametrize(("parameters", "quoted"), [({}, True), (OFF, False)])
async def test_a_card_may_quote_the_prompt_whose_place_it_takes(
    parameters: dict[str, Any], quoted: bool
) -> None:
    [first, *_] = await given(
        *USER, fields={"system_prompt": "<< {{original}} >>"}, venice_parameters=parameters
    )
    assert first["content"].startswith("<< SERVER" if quoted else "<<  >>")
    assert first["content"].count("SERVER") == quoted


async def test_the_last_word_stands_after_the_last_turn_but_before_an_answer_that_goes_on() -> None:
    fields = {"post_history_instructions": "Stay {{char}}."}
    assert (await given(*USER, fields=fields))[-2:] == [*USER, system("Stay Nell.")]
    going_on = [*USER, assistant("The mill")]
    assert (await given(*going_on, fields=fields))[-3:] == [
        *USER,
        system("Stay Nell."),
        assistant("The mill"),
    ]


def book(*entries: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"character_book": {"entries": [{"enabled": True, **entry} for entry in entries], **more}}


async def test_lore_is_called_up_by_what_is_said_and_not_by_system_messages() -> None:
    fields = book({"keys": ["weir"], "content": "LORE"})
    assert "LORE" in (await given(user("the weir"), fields=fields))[0]["content"]
    assert "LORE" not in (await given(system("the weir"), *USER, fields=fields))[0]["content"]
    parts = {"role": "user", "content": [{"type": "text", "text": "the weir"}]}
    assert "LORE" in (await given(parts, fields=fields))[0]["content"]


async def test_lore_goes_among_the_turns_in_its_order_and_never_between_a_call_and_its_result() -> None:
    fields = book(
        {"keys": ["hi"], "content": "@@depth 1\nONE", "insertion_order": 2},
        {"keys": ["hi"], "content": "@@depth 0\n@@role user\nLAST", "insertion_order": 1},
        {"keys": ["hi"], "content": "@@depth 1\nTWO", "insertion_order": 3},
        {"keys": ["hi"], "content": "@@depth 99\nFIRST", "insertion_order": 4},
    )
    [head, *rest] = await given(*USER, fields=fields)
    # What comes first of all is told with the rest of the system prompt.
    assert head["content"].endswith("\n\nFIRST")
    assert rest == [
        assistant("Come in, User!"),
        system("ONE"),
        system("TWO"),
        *USER,
        user("LAST"),
    ]
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    called = {"role": "assistant", "content": None, "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": "c", "content": "42"}
    tools = [{"type": "function", "function": {"name": "f"}}]
    told = await given(
        *USER, called, result, fields=book({"keys": ["hi"], "content": "@@depth 1\nONE"}), tools=tools
    )
    assert [each["role"] for each in told] == ["system", "assistant", "user", "system", "assistant", "tool"]


async def test_the_same_holds_for_a_model_of_this_machine() -> None:
    house = gateway(STREAM, post_history_instructions="Stay Nell.")
    await house.whole(model=LOCAL, venice_parameters={"character_slug": "nell"})
    [first, *rest] = house.engine.messages
    assert "SERVER" in first["content"]
    assert "keeps the mill" in first["content"]
    assert rest == [assistant("Come in, User!"), *USER, system("Stay Nell.")]


async def test_tools_are_listed_after_the_character() -> None:
    house = gateway(STREAM)
    tools = [{"type": "function", "function": {"name": "weigh", "description": "Weigh flour"}}]
    await house.whole(model=LOCAL, tools=tools, venice_parameters={"character_slug": "nell"})
    first = house.engine.messages[0]["content"]
    assert first.index("keeps the mill") < first.index("weigh")


async def test_pictures_stay_where_they_were_and_faults_are_named_where_the_caller_put_them() -> None:
    image = {"type": "image_url", "image_url": {"url": data_url()}}
    shown = {"role": "user", "content": [{"type": "text", "text": "the mill?"}, image]}
    house = Gateway(WHOLE, system="", characters=Cards(nell=NELL), vision=True)
    await house.whole(messages=[shown], venice_parameters={"character_slug": "nell"})
    assert house.engine.messages[1:] == [assistant("Come in, User!"), shown]
    shown["content"][1] = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    refused = await house.ask(messages=[shown], venice_parameters={"character_slug": "nell"})
    assert refused.status == 400
    assert refused.json["issues"][0]["path"][:4] == ["messages", 0, "content", 1]


def data_url() -> str:
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


async def test_what_a_character_adds_is_reserved_held_and_counted() -> None:
    long = {"description": "mill " * 2000}
    plain, played = gateway(STREAM), gateway(STREAM, **long)
    for house in (plain, played):
        house.purse.money = 10**12
    asked = {"model": LOCAL, "max_tokens": 5}
    await plain.whole(**asked)
    await played.whole(**asked, venice_parameters={"character_slug": "nell"})
    # A token for 3.2 characters of the rate, and a byte each of what may be charged and of the engine's context.
    assert played.purse.reserved[0] - plain.purse.reserved[0] >= 3125
    assert played.purse.held[0] - plain.purse.held[0] >= 10_000 * 50
    assert played.local.asked[0][2] - plain.local.asked[0][2] >= 10_000


async def test_a_request_is_given_to_each_of_its_fallbacks_with_one_character() -> None:
    house = Gateway(
        lambda asked: in_json({"error": "down"}, 500) if asked["model"] == "theirs" else WHOLE,
        system="",
        characters=Cards(nell=NELL),
        others={"n": {"upstream_model": "others"}},
    )
    await house.whole(fallbacks=[{"model": "n"}], venice_parameters={"character_slug": "nell"})
    first, last = house.engine.asked[0], house.engine.asked[-1]
    assert last["model"] == "others"
    assert first["messages"] == last["messages"]
    assert [each["role"] for each in last["messages"]] == ["system", "assistant", "user"]
