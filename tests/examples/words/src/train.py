"""Trains the model on the beginning of the text, and writes every step beside its weights."""

import hashlib
import json
import os
import pathlib

import torch
from model import NextLetter, examples

params = json.load(open(os.environ["SEALSTONE_PARAMS"]))
optim, shape = params["optim"], params["model"]
text = pathlib.Path("data/text.txt").read_text()
letters = "".join(sorted(set(text)))
before, after = examples(text[:-2000], letters, shape["context"])


def digest(model):
    """The weights, in the order of their names."""
    running = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        running.update(name.encode() + tensor.numpy().tobytes())
    return running.hexdigest()


torch.manual_seed(int(os.environ["SEALSTONE_SEED"]))
model = NextLetter(len(letters), shape["context"], shape["width"])
optimizer = torch.optim.Adam(model.parameters(), lr=optim["lr"])
with open("trace.jsonl", "w") as trace:
    for step in range(optim["steps"]):
        # What training began with; further on it follows from what stands in the other columns.
        began = {"params_sha256": digest(model)} if step == 0 else {}
        batch = torch.randint(len(after), (optim["batch"],))
        loss = torch.nn.functional.cross_entropy(model(before[batch]), after[batch])
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), optim["clip"])
        optimizer.step()
        seen = hashlib.sha256(batch.numpy().tobytes()).hexdigest()
        row = {"step": step, "batch_sha256": seen, "lr": optim["lr"], "loss": loss.item(), "grad_norm": norm.item()}
        trace.write(json.dumps(row | began) + "\n")

pathlib.Path("model").mkdir(exist_ok=True)
torch.save(model.state_dict(), "model/weights.pt")
about = {"letters": letters, "context": shape["context"], "width": shape["width"]}
pathlib.Path("model/letters.json").write_text(json.dumps(about) + "\n")
