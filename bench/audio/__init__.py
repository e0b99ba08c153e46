"""What speech and transcription cost beside the bare models."""
