"""Writes the data that scikit-learn ships as a table: data/digits.csv. Run once; the recipe pins what it writes."""

import csv
import pathlib

from sklearn.datasets import load_digits

digits = load_digits()
path = pathlib.Path("data/digits.csv")
path.parent.mkdir(exist_ok=True)
with path.open("w", newline="") as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([f"p{row}{column}" for row in range(8) for column in range(8)] + ["label"])
    for pixels, label in zip(digits.data, digits.target):
        writer.writerow([int(pixel) for pixel in pixels] + [int(label)])
