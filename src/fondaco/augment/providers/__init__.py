"""Who searches the web, behind one port; which of them, the settings say."""

from __future__ import annotations

import os
from collections.abc import Mapping

from fondaco.augment.providers.brave import Brave
from fondaco.augment.providers.ddgs import Ddgs
from fondaco.augment.providers.provider import Provider, ProviderFailed
from fondaco.augment.providers.searxng import Searxng
from fondaco.augment.providers.tavily import Tavily
from fondaco.settings import SearchSettings

__all__ = ["Provider", "ProviderFailed", "providers_of"]


def providers_of(settings: SearchSettings, environment: Mapping[str, str] | None = None) -> list[Provider]:
    """In the order of the settings. Keys are read from the environment."""
    env = os.environ if environment is None else environment
    made: list[Provider] = []
    for name in settings.providers:
        match name:
            case "searxng":
                made.append(Searxng(settings.searxng_url or "", settings))
            case "brave":
                made.append(Brave(settings.brave_url, env.get(settings.brave_key_env, ""), settings))
            case "tavily":
                made.append(Tavily(settings.tavily_url, env.get(settings.tavily_key_env, ""), settings))
            case "ddgs":
                made.append(Ddgs(settings))
    return made
