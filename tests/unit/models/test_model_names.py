"""Names lead to models that can answer here: in the contract's order, with stand-ins or without."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fondaco.errors import InvalidRequest, ModelNotFound
from fondaco.models.catalogue import Catalogue
from fondaco.models.registry import ModelSettingsError, Registry
from fondaco.models.serving import LocalServing, RemoteServing
from fondaco.settings import Binding, GgufModel, ModelSettings

SMALL = "qwen2.5-coder-0.5b-instruct"
BETTER = "qwen2.5-coder-1.5b-instruct"
TINY = "smollm2-135m-instruct"
WEIGHTS = {
    SMALL: "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    BETTER: "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    TINY: "smollm2-135m-instruct-q4_1.gguf",
}
CATALOGUE = Catalogue()


def binding(**facts: object) -> Binding:
    return Binding.model_validate({"base_url": "http://127.0.0.1:9/v1", **facts})


def gguf(**facts: object) -> GgufModel:
    return GgufModel.model_validate({"path": "/models/mine.gguf", **facts})


def registry(
    *,
    default: str | None = None,
    stand_ins: bool = True,
    bind: dict[str, Binding] | None = None,
    files: dict[str, GgufModel] | None = None,
    weights: set[str] | None = None,
    offline: bool = False,
    local_runtime: bool = True,
    context_tokens: int = 32_768,
    context_of: Callable[[str], int | None] | None = None,
) -> Registry:
    there = {WEIGHTS.get(each, each) for each in ({SMALL} if weights is None else weights)}
    settings = ModelSettings(default=default, stand_ins=stand_ins, bind=bind or {}, gguf=files or {})
    return Registry(
        settings,
        CATALOGUE,
        there.__contains__,
        offline,
        {"text"} if local_runtime else (),
        context_tokens=context_tokens,
        context_of=context_of,
    )


def ids(models: Registry, kind: str | None = "text") -> list[str]:
    return [served.model.id for served in models.listed(kind)]


# Which models are listed.


def test_local_models_are_listed_with_the_default_first() -> None:
    assert ids(registry()) == [SMALL, BETTER, TINY]


def test_offline_only_models_whose_weights_are_there_are_listed() -> None:
    assert ids(registry(offline=True, weights={TINY})) == [TINY]


def test_without_the_local_engine_only_bound_models_are_listed() -> None:
    models = registry(local_runtime=False, bind={"qwen3-4b": binding()}, files={"mine": gguf()})
    assert ids(models) == ["qwen3-4b"]


def test_a_file_from_a_hub_is_not_listed_offline_until_it_is_there() -> None:
    files = {"mine": gguf(path="hf:me/it/a.gguf")}
    assert "mine" not in ids(registry(files=files, offline=True))
    assert "mine" in ids(registry(files=files, offline=True, weights={SMALL, "hf:me/it/a.gguf"}))
    assert "mine" in ids(registry(files=files))


def test_a_bound_model_of_another_type_is_listed_under_that_type() -> None:
    models = registry(bind={"tts-kokoro": binding()})
    assert ids(models, "tts") == ["tts-kokoro"]
    assert "tts-kokoro" not in ids(models)
    assert models.resolve("tts-kokoro", "tts").model.type == "tts"


# Which is the default.


def test_the_small_model_is_the_default_even_before_its_weight_is_there() -> None:
    served = registry(weights=set()).default_text()
    assert served is not None
    assert served.model.id == SMALL
    assert served.serving == LocalServing(WEIGHTS[SMALL])


def test_the_better_model_is_preferred_once_its_weight_arrives() -> None:
    there: set[str] = {WEIGHTS[SMALL]}
    models = Registry(ModelSettings(), CATALOGUE, there.__contains__, False, {"text"})
    assert models.resolve("gpt-4o").model.id == SMALL
    there.add(WEIGHTS[BETTER])
    assert models.resolve("gpt-4o").model.id == SMALL
    models.refresh()
    assert models.resolve("gpt-4o").model.id == BETTER
    assert models.version == 2


def test_the_tiny_model_does_not_keep_the_default_from_being_fetched() -> None:
    assert registry(weights={TINY}).resolve("default").model.id == SMALL
    assert registry(weights={TINY}, offline=True).resolve("default").model.id == TINY


def test_the_setting_names_the_default_and_the_stand_in_if_it_is_local() -> None:
    models = registry(default=TINY)
    assert models.resolve("default").model.id == TINY
    assert models.resolve("gpt-4o").model.id == TINY


def test_a_bound_default_answers_to_default_but_is_nobodys_stand_in() -> None:
    models = registry(default="far", bind={"far": binding()})
    assert models.resolve("default").model.id == "far"
    assert not models.resolve("default").stand_in
    assert models.resolve("gpt-4o").model.id == SMALL


def test_the_missions_default_is_the_default_when_it_is_bound() -> None:
    models = registry(bind={"zai-org-glm-4.7": binding()})
    assert models.resolve("default").model.id == "zai-org-glm-4.7"


def test_a_bound_model_is_the_default_where_nothing_is_local() -> None:
    assert registry(local_runtime=False, bind={"far": binding()}).resolve("default").model.id == "far"
    assert registry(local_runtime=False).default_text() is None


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"default": "nonsense"}, "'nonsense' is not a text model that can answer here"),
        ({"default": "zai-org-glm-4.7"}, "can answer here"),
        ({"default": BETTER, "offline": True}, "no weight here, and offline is set"),
        ({"default": SMALL, "local_runtime": False}, "no engine here"),
        ({"bind": {"a": binding()}, "files": {"a": gguf()}}, "both have 'a'"),
        ({"bind": {"a": binding(input_usd="cheap")}}, "'cheap' is not a price"),
        ({"bind": {"a": binding(output_usd="-1")}}, "'-1' is not a price"),
        ({"files": {"tts-kokoro": gguf()}}, "a GGUF file serves text"),
    ],
)
def test_settings_that_cannot_be_kept_are_said_at_the_start(settings: dict[str, object], told: str) -> None:
    with pytest.raises(ModelSettingsError) as refused:
        registry(**settings)  # pyright: ignore[reportArgumentType]
    assert told in str(refused.value)
    assert str(refused.value).startswith("models.")


# Names, in order.


def test_a_listed_id_is_itself() -> None:
    hit = registry().resolve(TINY)
    assert (hit.model.id, hit.asked, hit.stand_in, hit.suffix) == (TINY, TINY, False, {})


def test_a_users_own_id_wins_over_a_trait_and_an_alias_of_that_name() -> None:
    models = registry(bind={"fastest": binding(), "gpt-4o": binding()})
    assert models.resolve("fastest").model.id == "fastest"
    assert models.resolve("gpt-4o").model.id == "gpt-4o"
    assert "gpt-4o" not in models.mapping()


@pytest.mark.parametrize(
    "name",
    [
        "venice-uncensored",
        "qwen3-4b",
        "gpt-4o",
        "o1",
        "fastest",
        "default_vision",
        "claude-sonnet-4.5",
        "llama-3-3-70b",
    ],
)
def test_names_of_models_that_are_not_here_lead_to_the_stand_in(name: str) -> None:
    hit = registry().resolve(name)
    assert (hit.model.id, hit.asked, hit.stand_in) == (SMALL, name, True)


@pytest.mark.parametrize("name", ["zai-org-glm-4.7", "gpt-4o", "most_intelligent", "zai_org glm-4-7"])
def test_the_same_names_lead_to_the_model_itself_once_it_is_bound(name: str) -> None:
    hit = registry(bind={"zai-org-glm-4.7": binding()}).resolve(name)
    assert (hit.model.id, hit.stand_in) == ("zai-org-glm-4.7", False)
    assert isinstance(hit.served.serving, RemoteServing)


@pytest.mark.parametrize(
    "name", ["uncensored", "venice-uncensored", "venice_uncensored", "venice uncensored"]
)
def test_tolerant_forms_lead_where_the_exact_id_does(name: str) -> None:
    assert registry(bind={"venice-uncensored": binding()}).resolve(name).model.id == "venice-uncensored"


def test_a_superfluous_venice_prefix_is_forgiven() -> None:
    assert registry(bind={"qwen3-4b": binding()}).resolve("venice-qwen3-4b").model.id == "qwen3-4b"


def test_an_exact_id_wins_over_a_tolerant_one() -> None:
    models = registry(bind={"a-b": binding(), "a.b": binding()})
    assert models.resolve("a.b").model.id == "a.b"
    assert models.resolve("a_b").model.id == "a-b"


def test_ids_are_case_sensitive_and_the_near_one_is_named() -> None:
    with pytest.raises(ModelNotFound) as refused:
        registry().resolve("SmolLM2-135M-Instruct")
    assert refused.value.message.startswith("Specified model not found: SmolLM2-135M-Instruct")


def test_an_unknown_name_is_told_back_with_the_nearest_that_would_answer() -> None:
    with pytest.raises(ModelNotFound) as refused:
        registry().resolve("qwen3-4bb")
    assert refused.value.message == "Specified model not found: qwen3-4bb. Did you mean 'qwen3-4b'?"


def test_a_hint_never_names_what_would_not_answer() -> None:
    with pytest.raises(ModelNotFound) as refused:
        registry(stand_ins=False).resolve("venice-uncensored")
    assert refused.value.message == "Specified model not found: venice-uncensored"


def test_a_name_without_likeness_gets_no_hint_and_a_huge_one_is_cut() -> None:
    with pytest.raises(ModelNotFound) as refused:
        registry().resolve("zzz")
    assert refused.value.message == "Specified model not found: zzz"
    with pytest.raises(ModelNotFound) as refused:
        registry().resolve("z" * 1_000_000)
    assert len(refused.value.message) < 400


# Stand-ins.


@pytest.mark.parametrize("name", ["venice-uncensored", "gpt-4o", "fastest", "default_code"])
def test_without_stand_ins_only_what_is_here_answers(name: str) -> None:
    models = registry(stand_ins=False)
    with pytest.raises(ModelNotFound):
        models.resolve(name)
    assert models.resolve("default").model.id == SMALL
    assert models.mapping() == {}
    assert models.traits() == {"default": SMALL}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("qwen-image", "image"),
        ("default", "image"),
        ("dall-e-3", "image"),
        ("tts-kokoro", "tts"),
        ("whisper-1", "asr"),
        ("text-embedding-3-small", "embedding"),
        ("qwen3-4b", "image"),
        ("anything", "no-such-type"),
    ],
)
def test_other_types_than_text_have_no_stand_in(name: str, kind: str) -> None:
    with pytest.raises(ModelNotFound):
        registry().resolve(name, kind)


@pytest.mark.parametrize("name", ["qwen-image", "z-image-turbo", "dall-e-3", "tts-kokoro", "whisper-1"])
def test_a_model_of_another_type_is_not_found_for_chat(name: str) -> None:
    with pytest.raises(ModelNotFound):
        registry(bind={"qwen-image": binding(), "tts-kokoro": binding()}).resolve(name)


def test_an_alias_of_another_type_leads_to_its_target_once_that_is_bound() -> None:
    models = registry(bind={"text-embedding-bge-m3": binding()})
    assert models.resolve("text-embedding-3-small", "embedding").model.id == "text-embedding-bge-m3"
    assert models.mapping("embedding")["text-embedding-ada-002"] == "text-embedding-bge-m3"


def test_nothing_bound_steps_in_for_another_model() -> None:
    with pytest.raises(ModelNotFound):
        registry(local_runtime=False, bind={"far": binding()}).resolve("venice-uncensored")


# Traits and mapping.


def test_traits_leave_out_the_promises_that_nothing_here_keeps() -> None:
    assert registry().traits() == {
        "default": SMALL,
        "fastest": SMALL,
        "most_intelligent": SMALL,
        "most_uncensored": SMALL,
        "default_code": SMALL,
        "function_calling_default": SMALL,
    }


def test_a_model_of_ours_that_sees_takes_the_vision_trait_and_one_that_thinks_the_other() -> None:
    files = {"seer": gguf(mmproj="/m/proj.gguf"), "thinker": gguf(reasoning=True)}
    models = registry(files=files)
    assert models.traits()["default_vision"] == "seer"
    assert models.traits()["default_reasoning"] == "thinker"
    assert models.resolve("default_vision").model.id == "seer"
    assert models.resolve("default_reasoning").stand_in


def test_a_bound_model_that_sees_takes_no_trait_that_is_not_its_own() -> None:
    assert "default_vision" not in registry(bind={"far": binding(vision=True)}).traits()
    bound = registry(bind={"mistral-31-24b": binding()})
    assert bound.traits()["default_vision"] == "mistral-31-24b"


def test_rows_carry_the_traits_that_lead_to_them() -> None:
    models = registry(bind={"qwen3-4b": binding()})
    rows = {served.model.id: served.model.traits for served in models.listed("text")}
    assert rows["qwen3-4b"] == ("fastest",)
    assert "default" in rows[SMALL]
    assert models.resolve("default").model.traits == rows[SMALL]


@pytest.mark.parametrize("kind", ["text", "image", "embedding", "tts"])
@pytest.mark.parametrize("offline", [True, False])
def test_traits_and_mapping_name_only_listed_models(kind: str, offline: bool) -> None:
    bound = {"z-image-turbo": binding(), "tts-kokoro": binding(), "claude-opus-45": binding()}
    models = registry(bind=bound, offline=offline, weights={TINY})
    named = {*models.traits(kind).values(), *models.mapping(kind).values()}
    assert named <= set(ids(models, kind))
    for name, model_id in {**models.traits(kind), **models.mapping(kind)}.items():
        assert models.resolve(name, kind).model.id == model_id


# Suffixes, and ids with colons.


def test_a_suffix_is_read_from_the_name_and_a_stand_in_keeps_it() -> None:
    hit = registry().resolve("venice-uncensored:enable_web_search=on&character_slug=a%2Fb")
    assert hit.model.id == SMALL
    assert hit.suffix == {"enable_web_search": "on", "character_slug": "a/b"}


def test_a_malformed_suffix_is_a_fault_of_the_model_field() -> None:
    with pytest.raises(InvalidRequest) as refused:
        registry().resolve("default:disable_thinking=maybe")
    assert refused.value.issues[0].path == ("model",)


def test_an_id_with_a_colon_is_not_cut_and_may_carry_a_suffix_of_its_own() -> None:
    models = registry(bind={"llama3.2": binding(), "llama3.2:3b": binding(), "llama3.2:3b:q4": binding()})
    assert models.resolve("llama3.2:3b").model.id == "llama3.2:3b"
    assert models.resolve("llama3.2:3b:q4").model.id == "llama3.2:3b:q4"
    hit = models.resolve("llama3.2:3b:disable_thinking=true")
    assert (hit.model.id, hit.suffix) == ("llama3.2:3b", {"disable_thinking": "true"})
    assert models.resolve("llama3.2:disable_thinking=true").model.id == "llama3.2"


def test_suffixes_are_for_text_alone() -> None:
    with pytest.raises(ModelNotFound):
        registry(bind={"tts-kokoro": binding()}).resolve("tts-kokoro:disable_thinking=true", "tts")


# What a served model says of itself.


def test_a_bound_model_that_the_catalogue_knows_keeps_its_facts_but_not_its_privacy() -> None:
    model = registry(bind={"qwen3-4b": binding()}).resolve("qwen3-4b").model
    assert (model.context_tokens, model.tier, model.think_tags) == (32768, "XS", True)
    assert model.token_prices.output == 150_000_000
    assert model.privacy == "anonymized"
    assert (
        registry(bind={"qwen3-4b": binding(privacy="private")}).resolve("qwen3-4b").model.privacy == "private"
    )


def test_what_the_settings_say_of_a_bound_model_wins() -> None:
    said = binding(
        name="Mine",
        context_tokens=4096,
        vision=True,
        functions=False,
        think_tags=False,
        input_usd="0.000000001",
        cache_input_usd="0.5",
    )
    model = registry(bind={"qwen3-4b": said}).resolve("qwen3-4b").model
    assert (model.name, model.context_tokens, model.max_completion_tokens) == ("Mine", 4096, 4096)
    assert (model.capabilities.vision, model.capabilities.functions) == (True, False)
    assert not model.think_tags
    assert (model.token_prices.input, model.token_prices.output) == (1, 150_000_000)
    assert model.token_prices.cache_input == 500_000_000


def test_an_unknown_bound_model_is_free_and_takes_tools_and_schemas() -> None:
    model = registry(bind={"far": binding()}).resolve("far").model
    assert (model.token_prices.input, model.token_prices.output) == (0, 0)
    can = model.capabilities
    assert (can.functions, can.response_schema, can.vision, can.logprobs) == (True, True, False, False)
    assert (model.context_tokens, model.max_completion_tokens) == (8192, 4096)
    large = registry(bind={"far": binding(context_tokens=131072)}).resolve("far").model
    assert large.max_completion_tokens == 16384


def test_a_users_file_sees_only_with_a_projector() -> None:
    models = registry(files={"blind": gguf(vision=True), "seer": gguf(mmproj="/m/p.gguf")})
    assert not models.resolve("blind").model.capabilities.vision
    seer = models.resolve("seer").model
    assert seer.capabilities.vision
    assert (seer.privacy, seer.tier, seer.max_completion_tokens) == ("private", "XS", 4096)
    assert seer.token_prices.input == 50_000_000


def test_local_models_show_the_context_that_their_engine_gives() -> None:
    small = registry(context_tokens=16_384, files={"mine": gguf()})
    assert small.resolve(SMALL).model.context_tokens == 16_384
    assert small.resolve(TINY).model.context_tokens == 8192
    assert small.resolve("mine").model.context_tokens == 16_384
    tight = registry(context_tokens=2048)
    assert tight.resolve(SMALL).model.max_completion_tokens == 2048


def test_a_loaded_engine_tells_the_true_context_after_a_refresh() -> None:
    loaded: dict[str, int] = {}
    models = registry(files={"mine": gguf()}, context_of=loaded.get)
    assert models.resolve("mine").model.context_tokens == 32_768
    loaded["mine"] = 4096
    models.refresh()
    assert models.resolve("mine").model.context_tokens == 4096


def test_no_model_claims_a_web_search_that_the_gateway_has_not() -> None:
    for served in registry(bind={"zai-org-glm-4.7": binding()}).listed("text"):
        assert not served.model.capabilities.web_search


# The hot path.


def test_a_name_is_worked_out_once() -> None:
    models = registry()
    assert models.resolve("gpt-4o") is models.resolve("gpt-4o")


def test_what_is_remembered_is_bounded() -> None:
    models = registry()
    for number in range(5000):
        models.resolve(f"default:character_slug={number}")
    models.resolve("default:character_slug=" + "x" * 1000)
    kept = models._memo  # pyright: ignore[reportPrivateUsage]
    assert len(kept) <= 1024
    assert all(len(name) <= 128 for _, name in kept)
