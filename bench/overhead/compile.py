"""Builds the C programs of this folder with the system's compiler into `bench/.build/`.

`python -m bench.overhead.compile` builds them and prints the folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

SOURCES = Path(__file__).parent
BUILD = SOURCES.parent / ".build"
PROGRAMS = ("mock", "load")
FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra")


class NoCompilerError(RuntimeError):
    """There is no C compiler here: install one, or name it in the environment variable CC."""


def compiler() -> str | None:
    return shutil.which(os.environ.get("CC", "cc"))


def build() -> Path:
    """Build what is older than its sources and return the folder of the programs.

    Raises NoCompilerError, or CalledProcessError when the compiler refuses.
    """
    cc = compiler()
    if cc is None:
        raise NoCompilerError(NoCompilerError.__doc__)
    BUILD.mkdir(exist_ok=True)
    newest = max(source.stat().st_mtime for source in SOURCES.glob("*.[ch]"))
    for program in PROGRAMS:
        target = BUILD / program
        if target.exists() and target.stat().st_mtime > newest:
            continue
        # Built aside and moved: another run may be using the program.
        part = BUILD / f"{program}.{os.getpid()}"
        subprocess.run([cc, *FLAGS, "-o", str(part), str(SOURCES / f"{program}.c")], check=True)
        part.replace(target)
    return BUILD


if __name__ == "__main__":
    print(build())
