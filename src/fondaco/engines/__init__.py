"""Local inference: the servers that run models on this machine, their supervisor, and the store of their weights."""

import os

# Official builds of onnxruntime tell Microsoft what they run, unless this is said before they are loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
