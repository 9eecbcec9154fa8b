"""Verifies a bundle's envelope with securesystemslib, run by its own interpreter: BUNDLE PUBLIC-KEY KEY-ID."""

import json
import pathlib
import sys

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

bundle, public, key_id = sys.argv[1:]
envelope = Envelope.from_dict(json.loads(pathlib.Path(bundle).read_text())["dsseEnvelope"])
key = SSlibKey.from_crypto(load_pem_public_key(pathlib.Path(public).read_bytes()), keyid=key_id)
accepted = envelope.verify([key], threshold=1)
print("verified", *accepted)
