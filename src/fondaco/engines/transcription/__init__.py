"""The transcription engine: Whisper, or another model that hears, on OpenAI's wire."""
