"""The process of the local speech engine. Run as `python -m fondaco.engines.speech` by the supervisor."""

from fondaco.engines.serving import main
from fondaco.engines.speech.app import create

if __name__ == "__main__":
    main(create)
