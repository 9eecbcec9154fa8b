"""Measures the model on images that it has not seen."""

import json

import numpy as np
from network import scores

data = np.load("work/test.npz")
images, labels = data["images"], data["labels"]
found = scores("model/weights.safetensors", images)
likely = np.clip(found[np.arange(len(labels)), labels], 1e-15, 1.0)
metrics = {
    "accuracy": float((found.argmax(axis=1) == labels).mean()),
    "log_loss": float(-np.log(likely).mean()),
    "images": len(labels),
}
with open("metrics.json", "w") as file:
    json.dump(metrics, file, indent=1)
