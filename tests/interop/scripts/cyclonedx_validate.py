"""Validates a bill of materials against the official CycloneDX 1.7 schema, in its strict form."""

import pathlib
import sys

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

text = pathlib.Path(sys.argv[1]).read_text()
problem = JsonStrictValidator(SchemaVersion.V1_7).validate_str(text)
if problem is not None:
    print(f"not valid: {problem!s:.1500}")
    sys.exit(1)
print("valid CycloneDX 1.7")
