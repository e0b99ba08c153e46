"""Which endpoint answers a method and a path."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable

import msgspec
from starlette.routing import compile_path

from fondaco.errors import MethodNotAllowed, RouteNotFound
from fondaco.http.call import Call
from fondaco.http.openapi import Operation
from fondaco.http.reply import Reply

Endpoint = Callable[[Call], Awaitable[Reply]]

API_BASES = ("/api/v1", "/v1")


class Route(msgspec.Struct, frozen=True):
    """An endpoint and what the API's document says of it, method and path included.

    The operation's `path` may hold Starlette's parameters, such as `/models/{id:path}`. Its `access` is kept here:
    `open` needs no key (a good one is still recognised), `key` any key, `admin` an ADMIN key. One that is `based`
    stands under `/api/v1` and `/v1`, any other is as written.
    """

    endpoint: Endpoint
    operation: Operation


class Match(msgspec.Struct, frozen=True):
    route: Route
    template: str
    """The path as registered, base included: safe to log."""
    params: dict[str, str] = {}


class Routes:
    """The table. Fixed paths are one dict look-up, and are never taken for a parameter of another path."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._fixed: dict[tuple[str, str], Match] = {}
        self._patterns: list[tuple[re.Pattern[str], Match]] = []
        self._methods: dict[str, list[str]] = {}
        for route in routes:
            operation = route.operation
            for base in API_BASES if operation.based else ("",):
                template = base + operation.path
                match = Match(route, template)
                if "{" in template:
                    self._patterns.append((compile_path(template)[0], match))
                else:
                    self._fixed[operation.method, template] = match
                    self._methods.setdefault(template, []).append(operation.method)

    def find(self, method: str, path: str) -> Match:
        """GET's route answers HEAD too, and one slash at the end does not matter.

        Raises MethodNotAllowed for a known path, RouteNotFound for any other.
        """
        match = self._fixed.get((method, path))
        if match is not None:
            return match
        if method == "HEAD" and (match := self._fixed.get(("GET", path))) is not None:
            return match
        slashed = path.endswith("/") and not path.endswith("//") and len(path) > 1
        if slashed and path[:-1] in self._methods:
            return self.find(method, path[:-1])
        allowed = list(self._methods.get(path, ()))
        for pattern, candidate in () if allowed else self._patterns:
            if found := pattern.match(path):
                taken = candidate.route.operation.method
                if taken == method or (taken, method) == ("GET", "HEAD"):
                    return msgspec.structs.replace(candidate, params=found.groupdict())
                allowed.append(taken)
        if slashed and not allowed:
            return self.find(method, path[:-1])
        if allowed:
            listed = ", ".join(allowed)
            raise MethodNotAllowed(f"Method not allowed: this path takes {listed}", allow=allowed)
        raise RouteNotFound("Not found: no such endpoint. All paths stand under /api/v1.")
