"""Trains a network with one hidden layer, and writes the loss of each epoch beside its weights."""

import json
import os
import pathlib

import numpy as np
from safetensors.numpy import save_file
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

params = json.load(open(os.environ["SEALSTONE_PARAMS"]))["train"]
data = np.load("work/train.npz")
scaler = StandardScaler().fit(data["images"])
images, labels = scaler.transform(data["images"]), data["labels"]
network = MLPClassifier(
    (params["hidden"],),
    solver="sgd",
    learning_rate_init=params["learning_rate"],
    momentum=params["momentum"],
    batch_size=params["batch_size"],
    random_state=int(os.environ["SEALSTONE_SEED"]) % 2**32,
)


def gradient_norm():
    """Of the loss over all images, with the weights as the epoch left them: scikit-learn tells no gradient of its own."""
    (first, second), (one, two) = network.coefs_, network.intercepts_
    hidden = np.maximum(images @ first + one, 0)
    scores = hidden @ second + two
    chances = np.exp(scores - scores.max(axis=1, keepdims=True))
    error = chances / chances.sum(axis=1, keepdims=True)
    error[np.arange(len(labels)), labels] -= 1
    before = (error @ second.T) * (hidden > 0)
    weights = [images.T @ before + network.alpha * first, hidden.T @ error + network.alpha * second]
    parts = [*weights, before.sum(axis=0), error.sum(axis=0)]
    return float(np.sqrt(sum((part**2).sum() for part in parts)) / len(labels))


with open("trace.jsonl", "w") as trace:
    for epoch in range(params["epochs"]):
        network.partial_fit(images, labels, classes=np.arange(10))
        step = {"step": epoch, "epoch": epoch, "lr": params["learning_rate"], "loss": float(network.loss_)}
        trace.write(json.dumps(step | {"grad_norm": gradient_norm()}) + "\n")

pathlib.Path("model").mkdir(exist_ok=True)
tensors = {
    "scaler.mean": scaler.mean_,
    "scaler.scale": scaler.scale_,
    "hidden.weight": network.coefs_[0],
    "hidden.bias": network.intercepts_[0],
    "output.weight": network.coefs_[1],
    "output.bias": network.intercepts_[1],
}
save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, "model/weights.safetensors")
config = {"architecture": "mlp", "activation": "relu", "hidden": params["hidden"], "pixels": [8, 8], "labels": 10}
pathlib.Path("model/config.json").write_text(json.dumps(config, indent=1) + "\n")
