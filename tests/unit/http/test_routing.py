"""Which endpoint answers a method and a path."""

from __future__ import annotations

import pytest

from fondaco.errors import MethodNotAllowed, RouteNotFound
from fondaco.http.call import Call
from fondaco.http.openapi import Operation
from fondaco.http.reply import Reply
from fondaco.http.routing import Route, Routes


def route(method: str, path: str, *, based: bool = True) -> Route:
    async def endpoint(call: Call) -> Reply:
        raise AssertionError

    return Route(endpoint, Operation(method=method, path=path, summary="", tag="", based=based))


MODELS = route("GET", "/models")
CREATE = route("POST", "/models")
MODEL = route("GET", "/models/{id:path}")
TRAITS = route("GET", "/models/traits")
KEY = route("DELETE", "/keys/{id}")
HEALTH = route("GET", "/healthz", based=False)
ROUTES = Routes([MODEL, MODELS, CREATE, TRAITS, KEY, HEALTH])


@pytest.mark.parametrize("base", ["/api/v1", "/v1"])
def test_a_route_stands_under_both_bases(base: str) -> None:
    match = ROUTES.find("GET", f"{base}/models")
    assert match.route is MODELS
    assert match.template == f"{base}/models"
    assert ROUTES.find("POST", f"{base}/models").route is CREATE


def test_one_that_is_not_based_stands_as_it_is_written() -> None:
    assert ROUTES.find("GET", "/healthz").route is HEALTH
    with pytest.raises(RouteNotFound):
        ROUTES.find("GET", "/v1/healthz")
    with pytest.raises(RouteNotFound):
        ROUTES.find("GET", "/models")


def test_a_fixed_path_comes_before_a_parameter() -> None:
    assert ROUTES.find("GET", "/v1/models/traits").route is TRAITS


@pytest.mark.parametrize("name", ["a", "owner/name", "traits/x", "a b", "\u00e9", "a\0b"])
def test_a_parameter_is_what_stands_in_its_place(name: str) -> None:
    match = ROUTES.find("GET", f"/v1/models/{name}")
    assert match.route is MODEL
    assert match.params == {"id": name}
    assert match.template == "/v1/models/{id:path}"


def test_the_parameters_of_one_call_are_not_those_of_the_next() -> None:
    first = ROUTES.find("DELETE", "/v1/keys/one")
    second = ROUTES.find("DELETE", "/v1/keys/two")
    assert (first.params, second.params) == ({"id": "one"}, {"id": "two"})


def test_head_is_answered_where_get_is() -> None:
    assert ROUTES.find("HEAD", "/v1/models").route is MODELS
    assert ROUTES.find("HEAD", "/v1/models/a").route is MODEL
    with pytest.raises(MethodNotAllowed):
        ROUTES.find("HEAD", "/v1/keys/x")


def test_one_slash_at_the_end_does_not_matter() -> None:
    assert ROUTES.find("GET", "/v1/models/traits/").route is TRAITS
    assert ROUTES.find("GET", "/healthz/").route is HEALTH
    assert ROUTES.find("DELETE", "/v1/keys/x/").params == {"id": "x"}
    with pytest.raises(RouteNotFound):
        ROUTES.find("DELETE", "/v1/keys/x//")
    with pytest.raises(RouteNotFound):
        ROUTES.find("GET", "/healthz//")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/v1/models", {"GET", "POST"}),
        ("DELETE", "/v1/models/", {"GET", "POST"}),
        ("GET", "/v1/keys/x", {"DELETE"}),
        ("GET", "/v1/keys/x/", {"DELETE"}),
        ("POST", "/v1/models/traits", {"GET"}),
        ("POST", "/healthz", {"GET"}),
        ("CONNECT", "/healthz", {"GET"}),
    ],
)
def test_a_known_path_says_which_methods_it_takes(method: str, path: str, allow: set[str]) -> None:
    with pytest.raises(MethodNotAllowed) as caught:
        ROUTES.find(method, path)
    assert set(caught.value.allow) == allow


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "*",
        "/v1",
        "/v1/",
        "/v1//models",
        "/v1/keys",
        "/v1/keys/",
        "/v1/keys/a/b",
        "/V1/models",
        "x:443",
    ],
)
def test_any_other_path_is_nobodys(path: str) -> None:
    with pytest.raises(RouteNotFound) as caught:
        ROUTES.find("GET", path)
    assert path not in ("", "/", "*") or caught.value.message


def test_what_the_client_wrote_is_not_said_back() -> None:
    for method, path in (("GET", "/secret"), ("POST", "/v1/models/secret")):
        with pytest.raises((RouteNotFound, MethodNotAllowed)) as caught:
            ROUTES.find(method, path)
        assert "secret" not in str(caught.value)
