"""What to ask a search engine for a chat's latest message: the question in it, without the talk around it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from fondaco.augment.search import MAX_QUERY
from fondaco.augment.signs import folded, without_code, without_urls
from fondaco.augment.words import content_words

_SHORT = 160
"""Characters up to which a message is asked as it is."""
_LOOKED_AT = 4000
_FEW = 3
"""Content words below which a message leans on the one before it."""
_MOST_BEFORE = 4

_SPACE = re.compile(r"[\x00-\x20\x7f\u00a0\u2028\u2029\ud800-\udfff]+")
_SENTENCE = re.compile(r"[^.!?。！？\n]*[.!?。！？\n]*[\"”»」]?")
_MARKS = " \t,.:;!?-–—¡¿\"'“”„«»()[]，。、：；！？「」"

_COURTESY = [
    *(
        "please",
        "pls",
        "hey",
        "hi",
        "hello",
        "so",
        "ok",
        "okay",
        "well",
        "thanks",
        "thank you",
        "quick question",
        "now",
    ),
    *(
        "could you",
        "can you",
        "would you",
        "will you",
        "i want you to",
        "i'd like you to",
        "i want to know",
        "let me know",
    ),
    *(
        "i need to know",
        "i would like to know",
        "i'd like to know",
        "do you know",
        "tell me",
        "help me",
        "kindly",
    ),
    *(
        "do a web search for",
        "do a search for",
        "search the web for",
        "search the internet for",
        "search online for",
    ),
    *(
        "search for",
        "search",
        "google",
        "look up",
        "look online for",
        "browse for",
        "find out",
        "check online",
    ),
    *("web search", "do a web search and", "search the web and", "search the web", "what do you know about"),
    *(
        "bitte",
        "kannst du",
        "könntest du",
        "können sie",
        "sag mir",
        "such mir",
        "suche im internet nach",
        "hallo",
        "mir",
    ),
    *(
        "suche nach",
        "such nach",
        "such mal nach",
        "such im internet nach",
        "google mal",
        "recherchiere",
        "weißt du",
        "mal",
    ),
    *(
        "s'il te plaît",
        "s'il vous plaît",
        "peux-tu",
        "pouvez-vous",
        "dis-moi",
        "cherche sur internet",
        "bonjour",
    ),
    *("cherche sur le web", "cherche", "recherche", "est-ce que tu sais", "me dire", "salut"),
    *(
        "por favor",
        "puedes",
        "podrías",
        "dime",
        "busca en internet",
        "busca en la web",
        "busca",
        "buscar",
        "hola",
        "decirme",
    ),
    *(
        "per favore",
        "puoi",
        "potresti",
        "dimmi",
        "cerca su internet",
        "cerca online",
        "cerca",
        "ciao",
        "dirmi",
    ),
    *("você pode", "pode", "me diga", "pesquise na internet", "pesquise", "procure", "olá", "oi", "sobre"),
    *(
        "alsjeblieft",
        "kun je",
        "zoek op internet naar",
        "zoek naar",
        "zoek op",
        "zoek",
        "vertel me",
        "hallo",
        "hoi",
    ),
    *(
        "请",
        "请问",
        "帮我",
        "搜索一下",
        "搜一下",
        "查一下",
        "搜索",
        "上网搜一下",
        "上网查一下",
        "你好",
        "すみません",
        "ネットで検索して",
    ),
]
_AFTER = [
    *("please", "pls", "thanks", "thank you", "thx", "for me", "on the web", "online", "on the internet"),
    *("with sources", "and cite sources", "bitte", "danke", "s'il te plaît", "s'il vous plaît", "merci"),
    *("por favor", "gracias", "per favore", "grazie", "obrigado", "obrigada", "alsjeblieft", "dank je"),
    *(
        "谢谢",
        "お願いします",
        "を検索して",
        "を検索してください",
        "について調べて",
        "を調べて",
        "教えてください",
        "ください",
    ),
]


def _longest_first(phrases: Sequence[str]) -> str:
    return "|".join(re.escape(phrase) for phrase in sorted(phrases, key=len, reverse=True))


# An ideograph begins the next word at once, other writing parts words.
_OPENING = re.compile(rf"(?:{_longest_first(_COURTESY)})(?!(?<=[^\W\u3040-\u9fff])[\w'’])", re.IGNORECASE)
_CLOSING = re.compile(
    rf"(?:(?<=[\s,，.!?！？。])|(?=[\u3040-\u9fff]))(?:{_longest_first(_AFTER)})$", re.IGNORECASE
)
_ASKS = re.compile(
    r"[?？]|^\W*(?:who|what|when|where|which|why|how|is|are|does|do|did|has|can|wer|was|wann|wo|wie|welche\w*|qui|que|"
    r"quel\w*|quand|où|combien|quién|qué|cuándo|cuánto|dónde|chi|che|quando|quanto|dove|quem|qual|wie|wat|wanneer|waar)\b",
    re.IGNORECASE,
)


def search_query(said: str, before: Sequence[str] = ()) -> str:
    """At most `MAX_QUERY` characters in one line; empty only where the message has no word.

    `before` are the user's earlier messages, oldest first: their words are added to one that says little by itself.
    """
    asked = _question(said)
    query = _bare(asked) or asked
    if not any(map(str.isalnum, query)):
        query = _line(said[:_LOOKED_AT])
        if not any(map(str.isalnum, query)):
            return ""
    if before and _few(query):
        query = _with_earlier(query, before[-_MOST_BEFORE:])
    return _cut(query)


def _question(said: str) -> str:
    """The sentence that asks, of a long message; all of a short one."""
    text = said
    if len(said) > _LOOKED_AT:
        text = said[: _LOOKED_AT // 2] + "\n" + said[-(_LOOKED_AT // 2) :]
    text = without_urls(without_code(text))
    if len(whole := _line(text)) <= _SHORT:
        return whole
    sentences = [
        line for found in _SENTENCE.findall(text) if (line := _line(found)) and any(map(str.isalnum, line))
    ]
    if not sentences:
        return whole
    # What is asked about a pasted text stands before it or after it.
    for at in dict.fromkeys((len(sentences) - 1, 0, len(sentences) - 2, 1)):
        if 0 <= at < len(sentences) and _ASKS.search(sentences[at]):
            return sentences[at]
    asking = [sentence for sentence in sentences if "?" in sentence or "？" in sentence]
    return asking[-1] if asking else sentences[0]


def _bare(query: str) -> str:
    """Without politeness and the order to search."""
    query = query.strip(_MARKS)
    for _ in range(6):
        shorter = query
        if found := _OPENING.match(shorter):
            shorter = shorter[found.end() :].strip(_MARKS)
        shorter = _CLOSING.sub("", shorter).strip(_MARKS)
        if not shorter or shorter == query:
            break
        query = shorter
    return query


def _few(query: str) -> bool:
    words = content_words(query)
    if any("\u3040" <= char <= "\u9fff" for char in query):
        return len(query) <= 2 * _FEW + 1
    return len(words) < _FEW and len(query.split()) <= 2 * _FEW


def _with_earlier(query: str, before: Sequence[str]) -> str:
    """Behind what the latest message that says enough was about."""
    for one in reversed(before):
        earlier = _bare(_question(one))
        if any(map(str.isalnum, earlier)) and not _few(earlier):
            break
    else:
        earlier = _bare(_question(before[-1]))
    said = set(folded(query).split())
    kept = [word for word in earlier.split() if folded(word).strip(_MARKS) not in said]
    return " ".join((*kept, query)).strip()


def _line(text: str) -> str:
    return _SPACE.sub(" ", text).strip()


def _cut(query: str) -> str:
    """Between words, if it has any that end."""
    query = _line(query)
    if len(query) <= MAX_QUERY:
        return query
    kept = query[:MAX_QUERY]
    return (kept.rpartition(" ")[0] or kept).strip()
