"""One line a request, at a cost that the hot path does not feel: noted at once, written four times a second."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Final, Literal

from fondaco.settings import LogSettings
from fondaco.telemetry.fields import DROPPED
from fondaco.telemetry.lines import Write, form, stamp, write_stderr

_FLUSH_SECONDS: Final = 0.25
_WORD: Final = re.compile(r"[\w.:/@+{}-]{1,200}", re.ASCII)  # braces: a route's template has them
_ROUTES: Final = 2048
_TEXT: Final = "method={} path={} status={} model={}"
_JSON: Final = '"method":"{}","path":"{}","status":{},"model":"{}"'

_Note = tuple[float, str, str, int, float, int, str | None, str]


class AccessLog:
    """The access log of one event loop. Lines wait in memory for at most a quarter of a second."""

    def __init__(self, settings: LogSettings, write: Write = write_stderr) -> None:
        self.enabled = settings.access and settings.level in ("debug", "info")
        self._lines = _Lines(form(settings.format))
        self._write = write
        self._notes: list[_Note] = []
        self._timer: asyncio.TimerHandle | None = None

    def note(
        self,
        method: str,
        path: str,
        status: int,
        seconds: float,
        bytes_out: int,
        model: str | None,
        request_id: str,
    ) -> None:
        """Remember one answered request. Call it on the event loop.

        `path` is the template of the route that answered, such as `/api/v1/models` or `/api/v1/api_keys/{id}`, and
        `-` where none did: what a caller put into an unknown path, or into a parameter of it, is the caller's and
        is never given here. So it is with `method` (`-` for one we do not know) and `model` (the id that ran, never
        the one asked for). `request_id` is ours.
        """
        if not self.enabled:
            return
        self._notes.append((time.time(), method, path, status, seconds, bytes_out, model, request_id))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Write what was noted, in one write()."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._notes:
            notes, self._notes = self._notes, []
            self._write(self._lines.write(notes).encode())

    def close(self) -> None:
        """Write the rest. What is noted later, by requests that still drain, is flushed as before."""
        self.flush()


class _Lines:
    """Notes to lines. What repeats from one to the next, the time and the route, is checked and written once."""

    def __init__(self, form: Literal["text", "json"]) -> None:
        self._line = self._as_text if form == "text" else self._as_json
        self._second = self._millisecond = -1
        self._start = self._time = ""
        self._routes: dict[tuple[str, str, int, str | None], str] = {}

    def write(self, notes: list[_Note]) -> str:
        return "".join(map(self._line, notes))

    def _as_text(self, note: _Note) -> str:
        at, method, path, status, seconds, bytes_out, model, request_id = note
        return (
            f"{self._stamp(at)} info    request.answered {self._route(method, path, status, model, _TEXT)} "
            f"seconds={seconds:.6f} bytes={bytes_out} request_id={_own(request_id)}\n"
        )

    def _as_json(self, note: _Note) -> str:
        at, method, path, status, seconds, bytes_out, model, request_id = note
        return (
            f'{{"ts":"{self._stamp(at)}","level":"info","event":"request.answered",'
            f"{self._route(method, path, status, model, _JSON)},"
            f'"seconds":{seconds:.6f},"bytes":{bytes_out},"request_id":"{_own(request_id)}"}}\n'
        )

    def _stamp(self, at: float) -> str:
        millisecond = int(at * 1000)
        if millisecond != self._millisecond:
            self._millisecond = millisecond
            second, rest = divmod(millisecond, 1000)
            if second != self._second:
                self._second, self._start = second, stamp(second)[:-4]
            self._time = f"{self._start}{rest:03d}Z"
        return self._time

    def _route(self, method: str, path: str, status: int, model: str | None, template: str) -> str:
        key = (method, path, status, model)
        if (known := self._routes.get(key)) is None:
            if len(self._routes) >= _ROUTES:
                self._routes.clear()
            known = template.format(_word(method), _word(path), status, _word(model or "-"))
            self._routes[key] = known
        return known


def _word(text: str) -> str:
    return text if _WORD.fullmatch(text) else DROPPED


def _own(request_id: str) -> str:
    return request_id if request_id.isalnum() and len(request_id) <= 64 else DROPPED
