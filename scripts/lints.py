#!/usr/bin/env python3
"""Rules of this house that no general linter knows. Prints `path:line: what is wrong`; exits with 1 if anything is.

modules    none over 600 lines, none named utils, helpers, common or misc
prints     `print` only on the command line (src/fondaco/cli)
logs       a log call's event is a constant, and no field is made by str(), repr(), format or an f-string;
           logging and structlog are imported in src/fondaco/telemetry alone
money      no float, no `float` and no true division in money.py and in src/fondaco/billing
places     no registry's host and no path of somebody's machine in any tracked file
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LONGEST_MODULE = 600
BAD_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}
LOG_NAMES = {"log", "_log", "logger", "_logger", "LOG"}
LOG_METHODS = {"debug", "info", "warning", "error", "exception", "critical", "bind"}
TEXT_MAKERS = {"str", "repr", "format", "ascii"}
EVENT = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)+")

# In pieces, so that this file does not hold what it forbids.
HOSTS = [
    ".".join(parts)
    for parts in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("npmjs", "com"))
]
HOSTS += [".".join((name, "debian", "org")) for name in ("deb", "security", "packages", "snapshot")]
PLACES = re.compile(
    "|".join(
        [re.escape(host) for host in HOSTS] + [r"(?<![\w.~-])/(?:work|root|home/\w+|Users/\w+|tmp/\w+)/\w"]
    )
)

Fault = tuple[int, str]


def main() -> int:
    faults = 0
    for path in tracked():
        for line, message in sorted(faults_of(path.relative_to(ROOT), path.read_bytes())):
            sys.stdout.write(f"{path.relative_to(ROOT)}:{line}: {message}\n")
            faults += 1
    return 1 if faults else 0


def tracked() -> list[Path]:
    """Files that git has or would have; without git, all but hidden and built ones."""
    asked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if asked.returncode == 0:
        found = [ROOT / name for name in asked.stdout.decode().split("\0") if name]
    else:
        built = {"node_modules", "dist", "build", "__pycache__"}
        found = [
            path
            for path in ROOT.rglob("*")
            if not any(part in built or part.startswith(".venv") for part in path.relative_to(ROOT).parts)
        ]
    return sorted(path for path in found if path.is_file() and not path.is_symlink())


def faults_of(path: Path, content: bytes) -> Iterator[Fault]:
    """All faults of one file, `path` relative to the root."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return
    yield from places(text)
    if path.suffix == ".py":
        yield from modules(path, text)
        tree = ast.parse(text)
        if path.parts[:2] == ("src", "fondaco"):
            yield from prints(path, tree, text.splitlines())
            yield from logs(path, tree)
            if path.name == "money.py" or "billing" in path.parts:
                yield from money(tree)


def places(text: str) -> Iterator[Fault]:
    for number, line in enumerate(text.splitlines(), 1):
        if found := PLACES.search(line):
            yield number, f"names a registry's host or a machine's path: {found.group()}"


def modules(path: Path, text: str) -> Iterator[Fault]:
    lines = text.count("\n")
    if lines > LONGEST_MODULE:
        yield lines, f"{lines} lines; a module has at most {LONGEST_MODULE}"
    if bad := BAD_NAMES & {path.stem, *path.parts[:-1]}:
        yield 1, f"named {bad.pop()}, which says nothing: name it after what is in it"


def prints(path: Path, tree: ast.AST, lines: list[str]) -> Iterator[Fault]:
    if "cli" in path.parts:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            if "noqa: T201" in lines[(node.end_lineno or node.lineno) - 1]:
                continue  # a child's protocol on its stdout, and said so
            yield node.lineno, "print outside the command line"


def logs(path: Path, tree: ast.AST) -> Iterator[Fault]:
    own = "telemetry" in path.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) and not own:
            names = (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [name.name for name in node.names]
            )
            if {name.partition(".")[0] for name in names} & {"logging", "structlog"}:
                yield (
                    node.lineno,
                    "logging outside fondaco.telemetry: take `logger` from fondaco.telemetry.logs",
                )
        if isinstance(node, ast.Call) and is_log_call(node):
            if node.func.attr != "bind" and not own and not is_event(node):
                yield (
                    node.lineno,
                    "a log call's event is a constant dotted name, its only positional argument",
                )
            for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
                if makes_text(argument):
                    yield argument.lineno, "text made in a log call: log declared fields as they are"


def is_log_call(node: ast.Call) -> bool:
    if not isinstance(node.func, ast.Attribute) or node.func.attr not in LOG_METHODS:
        return False
    on = node.func.value
    name = on.id if isinstance(on, ast.Name) else on.attr if isinstance(on, ast.Attribute) else ""
    return name in LOG_NAMES


def is_event(node: ast.Call) -> bool:
    if len(node.args) != 1 or not isinstance(node.args[0], ast.Constant):
        return False
    event = node.args[0].value
    return isinstance(event, str) and EVENT.fullmatch(event) is not None


def makes_text(node: ast.expr) -> bool:
    for part in ast.walk(node):
        if isinstance(part, ast.JoinedStr):
            return True
        if isinstance(part, ast.BinOp) and isinstance(part.op, ast.Mod | ast.Add):
            return any(
                isinstance(side, ast.Constant) and isinstance(side.value, str)
                for side in (part.left, part.right)
            )
        if isinstance(part, ast.Call):
            called = part.func
            name = (
                called.id
                if isinstance(called, ast.Name)
                else called.attr
                if isinstance(called, ast.Attribute)
                else ""
            )
            if name in TEXT_MAKERS:
                return True
    return False


def money(tree: ast.AST) -> Iterator[Fault]:
    time = {id(part) for node in ast.walk(tree) for part in of_time(node)}
    for node in ast.walk(tree):
        if id(node) in time:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, float):
            yield node.lineno, "a float among money"
        elif isinstance(node, ast.Name) and node.id == "float":
            yield node.lineno, "float among money"
        elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            yield node.lineno, "true division among money: use // or divmod"


def of_time(node: ast.AST) -> Iterator[ast.AST]:
    """What stands in a parameter or an assignment that is named after seconds: time may be a float."""
    if isinstance(node, ast.arguments):
        named = [*node.posonlyargs, *node.args]
        padded = [None] * (len(named) - len(node.defaults)) + node.defaults
        for argument, default in zip([*named, *node.kwonlyargs], [*padded, *node.kw_defaults], strict=True):
            if argument.arg.endswith("seconds"):
                yield from ast.walk(argument)
                if default is not None:
                    yield from ast.walk(default)
    elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = [getattr(target, "id", getattr(target, "attr", "")) for target in targets]
        if all(name.lower().endswith("seconds") for name in names):
            yield from ast.walk(node)


if __name__ == "__main__":
    sys.exit(main())
