"""Measures the model on the end of the text, which it has not seen."""

import json
import pathlib

import torch
from model import examples, load

model, about = load("model/weights.pt")
text = pathlib.Path("data/text.txt").read_text()[-2000 - about["context"] :]
before, after = examples(text, about["letters"], about["context"])
with torch.no_grad():
    scores = model(before)
metrics = {
    "loss": torch.nn.functional.cross_entropy(scores.double(), after).item(),
    "accuracy": (scores.argmax(1) == after).double().mean().item(),
    "letters": len(after),
}
with open("metrics.json", "w") as file:
    json.dump(metrics, file, indent=1)
