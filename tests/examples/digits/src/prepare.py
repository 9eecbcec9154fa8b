"""Splits the images into those that are learnt from and those that are kept for the evaluation."""

import json
import os
import pathlib

import numpy as np

params = json.load(open(os.environ["SEALSTONE_PARAMS"]))
table = np.loadtxt("data/digits.csv", delimiter=",", skiprows=1, dtype=np.int64)
# Sixteenths are exact in floating point, so these bytes are the same on every machine.
images, labels = table[:, :-1] / 16.0, table[:, -1]
order = np.random.default_rng(int(os.environ["SEALSTONE_SEED"])).permutation(len(labels))
test, train = np.split(order, [params["split"]["test_images"]])
pathlib.Path("work").mkdir(exist_ok=True)
np.savez("work/train.npz", images=images[train], labels=labels[train])
np.savez("work/test.npz", images=images[test], labels=labels[test])
