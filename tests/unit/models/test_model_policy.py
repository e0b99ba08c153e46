"""Which models a key may ask by its `modelPrivacy`."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest

from fondaco.errors import ModelNotAllowed
from fondaco.models.catalogue import Catalogue
from fondaco.models.model import MODEL_TYPES, Model, ModelType
from fondaco.models.policy import ModelPrivacy, allows, check


def model(kind: ModelType, privacy: str) -> Model:
    catalogue = Catalogue()
    found = catalogue.find(next(iter(catalogue.of_type(kind))))
    assert found is not None
    return msgspec.structs.replace(found, privacy=privacy)


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_a_policy_lets_in_what_is_private_and_what_it_does_not_mind(kind: ModelType) -> None:
    text = kind in ("text", "embedding")
    for policy in get_args(ModelPrivacy):
        assert allows(policy, model(kind, "private"))
        assert check(policy, model(kind, "private")) is None
    far = model(kind, "anonymized")
    assert {policy for policy in get_args(ModelPrivacy) if allows(policy, far)} == (
        {"ALL"} if text else {"ALL", "PRIVATE_TEXT"}
    )


@pytest.mark.parametrize(
    ("policy", "name"),
    [("PRIVATE_ONLY", "Private models only"), ("PRIVATE_TEXT", "Private text/embedding models")],
)
def test_a_refusal_names_the_setting_and_the_model(policy: ModelPrivacy, name: str) -> None:
    far = model("text", "anonymized")
    with pytest.raises(ModelNotAllowed) as caught:
        check(policy, far)
    assert (caught.value.status, caught.value.code) == (403, "MODEL_PRIVACY_RESTRICTED")
    assert caught.value.message == (
        f"This API key is set to '{name}', but `{far.id}` is an Anonymous model. Choose a Private, TEE, or E2EE "
        "model, or change the model privacy setting of this API key."
    )
