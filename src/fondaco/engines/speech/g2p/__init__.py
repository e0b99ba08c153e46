"""From text to Kokoro's phonemes, one module a language or family."""
