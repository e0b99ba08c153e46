"""`fondaco` and `python -m fondaco`. The version is answered before anything heavy is imported."""

from __future__ import annotations

import sys

from fondaco import __version__


def main() -> None:
    if sys.argv[1:] in (["--version"], ["-V"]):
        sys.stdout.write(f"fondaco {__version__}\n")
        return
    from fondaco.cli import run

    run()


if __name__ == "__main__":
    main()
