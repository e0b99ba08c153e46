"""The local embedding engine: an ONNX encoder behind OpenAI's `/v1/embeddings`."""
