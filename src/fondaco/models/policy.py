"""Which models a key may ask, by how private they are (CONTRACT 2.1)."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from fondaco.errors import ModelNotAllowed
from fondaco.models.model import Model

ModelPrivacy: TypeAlias = Literal["ALL", "PRIVATE_TEXT", "PRIVATE_ONLY"]
"""A key's `modelPrivacy`: any model; private ones where text goes in or comes out, any other; private ones alone."""

_TEXT: Final = ("text", "embedding")

# As the vendor's own page names these settings: clients look for the sentence.
_NAMES: Final = {"PRIVATE_TEXT": "Private text/embedding models", "PRIVATE_ONLY": "Private models only"}


def allows(policy: ModelPrivacy, model: Model) -> bool:
    """Whether a key with this policy may ask `model`."""
    if policy == "ALL" or model.privacy == "private":
        return True
    return policy == "PRIVATE_TEXT" and model.type not in _TEXT


def check(policy: ModelPrivacy, model: Model) -> None:
    """Raises ModelNotAllowed where the policy does not allow `model`."""
    if not allows(policy, model):
        raise ModelNotAllowed(
            f"This API key is set to '{_NAMES[policy]}', but `{model.id}` is an Anonymous model. Choose a Private, "
            "TEE, or E2EE model, or change the model privacy setting of this API key."
        )
