"""Validates a model signature against the schemas of OpenSSF Model Signing v1.0: the bundle, and the statement within.

Arguments: a folder with the *.json schemas of v1.0, and the signature. Which schema is which is told by its file name.
"""

import base64
import json
import pathlib
import sys

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

folder, signature = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
schemas = {path.name: json.loads(path.read_text()) for path in sorted(folder.rglob("*.json"))}
resources = [(schema.get("$id", name), Resource.from_contents(schema)) for name, schema in schemas.items() if "$schema" in schema]
registry = Registry().with_resources(resources + [(name, Resource.from_contents(s)) for name, s in schemas.items() if "$schema" in s])
bundle = json.loads(signature.read_text())
statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
checked, problems = [], []
for name, schema in schemas.items():
    kind = name.lower()
    document = bundle if "bundle" in kind else statement if "statement" in kind or "payload" in kind else statement["predicate"] if "predicate" in kind else None
    if document is None:
        continue
    checked.append(name)
    for error in Draft202012Validator(schema, registry=registry).iter_errors(document):
        problems.append(f"{name}: {error.json_path}: {error.message:.300}")
if not checked:
    print("not valid: there are no schemas to check with")
    sys.exit(1)
if problems:
    print("not valid: " + "\n".join(problems[:10]))
    sys.exit(1)
print("valid by " + ", ".join(checked))
