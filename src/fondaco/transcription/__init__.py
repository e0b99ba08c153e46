"""POST /audio/transcriptions: what is said in audio, written down."""
