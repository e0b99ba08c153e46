"""What `/models` says a local model's sampling defaults are is what its engine is told."""

from __future__ import annotations

import pytest

from fake_engines import stream
from scripted_chat import LOCAL, Gateway, Said


@pytest.mark.anyio
async def test_a_local_model_samples_as_models_says_unless_told_otherwise() -> None:
    gateway = Gateway(Said([stream({"content": "hi"})]))
    model = gateway.registry.resolve(LOCAL).model

    await gateway.whole(model=LOCAL)
    sampled = {key: gateway.engine.body.get(key) for key in ("temperature", "top_p")}
    assert sampled == {"temperature": model.temperature, "top_p": model.top_p}

    await gateway.whole(model=LOCAL, temperature=0, top_p=1)
    sampled = {key: gateway.engine.body.get(key) for key in ("temperature", "top_p")}
    assert sampled == {"temperature": 0, "top_p": 1}


@pytest.mark.anyio
async def test_a_bound_server_keeps_its_own_defaults() -> None:
    gateway = Gateway(Said([stream({"content": "hi"})]))
    await gateway.whole()
    assert not {"temperature", "top_p"} & set(gateway.engine.body)
