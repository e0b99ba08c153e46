"""Real prose that is on every machine where this runs: what Python's library and the installed packages say of themselves.

Read where it lies and never copied into the repository. The order is that of the hashes of the files' names: a mixture,
and the same again in the same environment.
"""

from __future__ import annotations

import ast
import sysconfig
import warnings
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

SHORTEST = 200
"""Characters of a docstring that says more than what a name says already."""


class Prose(NamedTuple):
    name: str
    text: str


def prose() -> Iterator[Prose]:
    """Docstrings by module, Python's own help topics, and each package's README and licence."""
    roots = [Path(sysconfig.get_paths()[place]) for place in ("stdlib", "purelib")]
    files = {
        ".".join(file.relative_to(root).parts): file
        for root in roots
        for file in root.rglob("*")
        if file.suffix == ".py" or _is_told(file)
        if root != roots[0] or "site-packages" not in file.parts
    }
    for name in sorted(files, key=lambda name: sha256(name.encode()).digest()):
        text = "\n\n".join(_said(files[name]))
        if text:
            yield Prose(name, text)


def _is_told(file: Path) -> bool:
    return file.parent.suffix == ".dist-info" and file.name in (
        "METADATA",
        "LICENSE",
        "LICENSE.txt",
        "NOTICE",
    )


def _said(file: Path) -> Iterator[str]:
    try:
        source = file.read_text("utf-8")
        if file.suffix != ".py":
            yield source.partition("\n\n")[2]  # without the head of METADATA
            return
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(source)
    except (OSError, ValueError, SyntaxError):
        return
    for node in ast.walk(tree):
        said = ""
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            said = ast.get_docstring(node) or ""
        # pydoc_data.topics: the language reference as one dictionary of texts.
        elif file.name == "topics.py" and isinstance(node, ast.Constant) and isinstance(node.value, str):
            said = node.value
        if len(said) >= SHORTEST:
            yield said
