"""The local speech engine: Kokoro on onnxruntime, behind OpenAI's `/v1/audio/speech`."""
