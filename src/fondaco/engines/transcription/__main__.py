"""The process of a local transcription engine. Run as `python -m` by the supervisor, never by hand."""

from fondaco.engines.serving import main
from fondaco.engines.transcription.app import create

if __name__ == "__main__":
    main(create)
