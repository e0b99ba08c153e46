"""The process of the local embedding engine. Run as `python -m fondaco.engines.embeddings` by the supervisor."""

from fondaco.engines.embeddings.app import create
from fondaco.engines.serving import main

if __name__ == "__main__":
    main(create)
