"""The published schemas and rules of the formats that sealstone writes: CycloneDX 1.7, SPDX 2.3, and OpenSSF Model Signing v1.0."""

import base64
import json
import os
import pathlib

import servers
from harness import CheckFailed, NotHere
from sealed import Verifier, sealstone, tool_folder

SCRIPTS = pathlib.Path(__file__).parents[1] / "scripts"
LOCK = "numpy==1.26.4 --hash=sha256:" + "a" * 64 + "\n"


class Schemas(Verifier):
    name = "schemas"

    @classmethod
    def missing(cls):
        if sealstone() is None:
            return "sealstone (SEALSTONE_BIN)"
        return None if (tool_folder("cyclonedx") / "ready").exists() else "cyclonedx-python-lib"

    def python(self, script, *words):
        return (servers.TOOLS / "cyclonedx" / "bin" / "python", SCRIPTS / script, *words)

    def bill(self):
        (self.home / "requirements.txt").write_text(LOCK)
        (self.home / "bom.json").unlink(missing_ok=True)
        self.sealstone("bom", "write", self.subject, "--requirements", "requirements.txt", "-o", "bom.json")
        return json.loads((self.home / "bom.json").read_text())

    def check_a_bill_of_materials_is_valid_cyclonedx(self):
        bill = self.bill()
        if bill["specVersion"] != "1.7" or len(bill["components"]) < 5:
            raise CheckFailed(f"version {bill['specVersion']} with {len(bill['components'])} components")
        self.run(*self.python("cyclonedx_validate.py", "bom.json"), says="valid CycloneDX 1.7")

    def check_the_schema_refuses_what_is_wrong(self):
        good = self.bill()

        def changed(change):
            copy = json.loads(json.dumps(good))
            change(copy)
            return self.write_json("changed.json", copy)

        def unknown_field(bill):
            bill["components"][0]["sealstone"] = "x"

        def unknown_type(bill):
            bill["components"][0]["type"] = "weights"

        def short_hash(bill):
            bill["metadata"]["component"]["hashes"][0]["content"] = "abc"

        def no_name(bill):
            del bill["components"][0]["name"]

        for change in (unknown_field, unknown_type, short_hash, no_name):
            self.refused(*self.python("cyclonedx_validate.py", changed(change)), says="not valid")

    def spdx(self, change=None):
        """The bill as SPDX, changed; and the words that validate it."""
        if not (tool_folder("spdx") / "ready").exists():
            raise NotHere("spdx-tools")
        (self.home / "bom.spdx.json").unlink(missing_ok=True)
        self.sealstone("bom", "write", self.subject, "--requirements", "requirements.txt", "--format", "spdx", "-o", "bom.spdx.json")
        document = json.loads((self.home / "bom.spdx.json").read_text())
        if change:
            change(document)
        self.write_json("changed.spdx.json", document)
        return (servers.TOOLS / "spdx" / "bin" / "python", SCRIPTS / "spdx_validate.py", "changed.spdx.json")

    def check_a_bill_of_materials_is_valid_spdx(self):
        bill = self.bill()
        words = self.spdx()
        document = json.loads((self.home / "changed.spdx.json").read_text())
        # The model, and each of its parts.
        if len(document["packages"]) < len(bill["components"]):
            raise CheckFailed(f"{len(document['packages'])} packages, and {len(bill['components'])} components in CycloneDX")
        self.run(*words, says="valid SPDX-2.3")

    def check_the_spdx_rules_refuse_what_is_wrong(self):
        self.bill()

        def no_time(document):
            del document["creationInfo"]["created"]

        def short_hash(document):
            next(it for it in document["packages"] if it.get("checksums"))["checksums"][0]["checksumValue"] = "abc"

        def to_nowhere(document):
            document["relationships"][0]["relatedSpdxElement"] = "SPDXRef-Nowhere"

        for change in (no_time, short_hash, to_nowhere):
            self.refused(*self.spdx(change), says="not valid")

    def oms(self):
        """The folder of OpenSSF Model Signing's schemas: no package brings them, so whoever has them says where."""
        folder = os.environ.get("SEALSTONE_OMS_SCHEMAS")
        if not folder:
            raise NotHere("SEALSTONE_OMS_SCHEMAS names no folder with schemas/v1.0 of ossf/model-signing-spec")
        return pathlib.Path(folder)

    def check_a_model_signature_is_valid_by_its_schemas(self):
        folder = self.oms()
        signature = self.write_json("model.sig", self.model_signature())
        self.run(*self.python("oms_validate.py", folder, signature), says="valid")

    def check_the_model_signing_schemas_refuse_what_is_wrong(self):
        folder = self.oms()
        good = self.model_signature()

        def refuse(change, statement_change=None):
            copy = json.loads(json.dumps(good))
            change(copy)
            if statement_change:
                statement = json.loads(base64.b64decode(copy["dsseEnvelope"]["payload"]))
                statement_change(statement)
                copy["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
            self.refused(*self.python("oms_validate.py", folder, self.write_json("changed.sig", copy)), says="not valid")

        def same(_):
            pass

        def without_key(bundle):
            del bundle["verificationMaterial"]["publicKey"]

        def two_subjects(statement):
            statement["subject"] *= 2

        def extra_field(statement):
            statement["predicate"]["sealstone"] = True

        refuse(without_key)
        refuse(same, two_subjects)
        refuse(same, extra_field)
