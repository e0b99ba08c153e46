"""How vectors are compared."""

from __future__ import annotations

from array import array

import pytest

from fondaco.augment.meaning import code, product, unit


def test_a_product_of_unit_vectors_is_their_cosine() -> None:
    one, other = unit([3.0, 4.0]), array("f", unit([4.0, 3.0]))
    assert product(one, one) == pytest.approx(1)
    assert product(one, other) == pytest.approx(24 / 25)


def test_vectors_of_different_models_have_nothing_in_common() -> None:
    assert product([1.0, 0.0], [1.0, 0.0, 0.0]) == 0


def test_the_code_of_a_vector_is_its_signs() -> None:
    assert code([0.5, -0.5, 0.0, 2.0]) == 0b1001
