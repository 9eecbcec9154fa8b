"""Scores the letter that follows each prompt: predict.py WEIGHTS PROMPTS.txt SCORES.npy."""

import pathlib
import sys

import numpy as np
import torch
from model import load

weights, prompts, out = sys.argv[1:]
model, about = load(weights)
rows = []
for prompt in pathlib.Path(prompts).read_text().splitlines():
    last = prompt.rjust(about["context"])[-about["context"] :]
    rows.append([about["letters"].index(letter) for letter in last])
with torch.no_grad():
    scores = model(torch.tensor(rows)).numpy()
pathlib.Path(out).parent.mkdir(parents=True, exist_ok=True)
np.save(out, scores)
