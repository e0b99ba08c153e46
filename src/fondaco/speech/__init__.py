"""POST /audio/speech: text read aloud."""
