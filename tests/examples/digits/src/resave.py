"""Reads weights and writes them again: resave.py WEIGHTS OUT."""

import pathlib
import sys

from safetensors.numpy import load_file, save_file

pathlib.Path(sys.argv[2]).parent.mkdir(parents=True, exist_ok=True)
save_file(load_file(sys.argv[1]), sys.argv[2])
