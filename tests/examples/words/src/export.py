"""Copies the text that the example learns from to data/text.txt. Run once; the recipe pins what it writes."""

import pathlib

path = pathlib.Path("data/text.txt")
path.parent.mkdir(exist_ok=True)
path.write_bytes(pathlib.Path("/usr/share/common-licenses/Apache-2.0").read_bytes())
