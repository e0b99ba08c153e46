"""Why a document says nothing."""

from __future__ import annotations

from fondaco.augment.parsing.wire import Fault


class Unreadable(Exception):
    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault: Fault = fault
