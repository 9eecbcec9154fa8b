"""Validates a bill of materials as SPDX 2.3, by the rules of the SPDX project's own tools."""

import sys

from spdx_tools.spdx.parser.error import SPDXParsingError
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

try:
    document = parse_file(sys.argv[1])
except SPDXParsingError as error:
    print(f"not valid: {error.get_messages()!s:.1500}")
    sys.exit(1)
problems = [message.validation_message for message in validate_full_spdx_document(document)]
if problems:
    print(f"not valid: {problems!s:.1500}")
    sys.exit(1)
print(f"valid {document.creation_info.spdx_version} with {len(document.packages)} packages")
