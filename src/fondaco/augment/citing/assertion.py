"""Whether a sentence says something of its own, which a source could hold."""

from __future__ import annotations

import re

from fondaco.augment.citing.terms import terms

_TAG = re.compile(r"</?[a-zA-Z][^<>\n]{0,200}>|https?://\S+")
_TITLE = re.compile(r"\s*(\*\*|__)(?:(?!\1).)+\1\s*:?\s*")
_ASKS = re.compile(r"[?？][\"'”’»)*_\s]*$")
_LEADS_IN = re.compile(r"[:：][*_\s]*$")

_SOURCES = (
    r"(?:(?:the |these |those |my |any |all |of )*"
    r"(?:sources?|(?:search|web) results?|(?:provided|given|available|found) \w+|information|context))"
)
_NOT = r"(?:(?:do|does|did|was|were|is|are|could|can|has|have|had)(?: not|n['’]t)|cannot|(?:is|are|has|have|contains?|gives?) no)"
_OF_ITSELF = re.compile(
    r"""
      \s*(?:(?:but|however|unfortunately|sorry|so|and)[, ]+)*
      (?:
          (?:hello|hi|hey|sure|certainly|of[ ]course|absolutely|thanks|thank[ ]you|great[ ]question|good[ ]question
            |you(?:['’]re|[ ]are)[ ]welcome|glad[ ]to|happy[ ]to|okay|ok)\b (?=[!.,]|\s*$)
        | (?:here|below)[ ](?:is|are|['’]s)[ ]
        | (?:let[ ]me|i[ ]hope|i['’]?(?:m|[ ]am)[ ]|i[ ](?:found|searched|looked|can|could|cannot|don['’]t|do[ ]not|have|will|apologi[sz]e)\b
            |if[ ]you\b|you[ ]asked|your[ ]question|please[ ]|feel[ ]free|would[ ]you|let['’]s)
        | (?:there[ ]is|there['’]s)[ ]no[ ](?:information|mention|evidence|data)
      )
    """,
    re.IGNORECASE | re.VERBOSE,
)
_LACKS = re.compile(
    rf"\b{_SOURCES} {_NOT}\b|\bno (?:information|mention|details?)\b"
    r"|\b(?:is|are|was|were) not (?:mentioned|specified|stated|discussed)\b"
    rf"|\bnot (?:mentioned|specified|stated|provided|given|found|available|included) (?:in|by) {_SOURCES}",
    re.IGNORECASE,
)
_FEWEST = 2


def asserts(sentence: str) -> bool:
    """False for greetings, questions, what leads in to something else, what an answer says of itself or of what its
    sources lack, titles, addresses, and what has hardly a word. English is known best; in other languages this says
    True more often, and the sources decide.
    """
    if _ASKS.search(sentence) or _LEADS_IN.search(sentence) or _TITLE.fullmatch(sentence):
        return False
    if _OF_ITSELF.match(sentence) or _LACKS.search(sentence):
        return False
    said = terms(_TAG.sub(" ", sentence))
    return bool(said.numbers or said.names) or len(said.words) >= _FEWEST
