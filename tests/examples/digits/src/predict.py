"""Scores drawings of digits: predict.py WEIGHTS DRAWINGS.txt SCORES.npy. Darker characters are darker pixels."""

import pathlib
import sys

import numpy as np
from network import scores

INK = " .:-=+*#@"

weights, drawings, out = sys.argv[1:]
images = []
for drawing in pathlib.Path(drawings).read_text().split("\n\n"):
    rows = [row.removeprefix("|").removesuffix("|") for row in drawing.strip("\n").split("\n")]
    images.append([INK.index(pixel) / (len(INK) - 1) for row in rows for pixel in row])
pathlib.Path(out).parent.mkdir(parents=True, exist_ok=True)
np.save(out, scores(weights, np.array(images)))
