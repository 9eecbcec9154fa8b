"""Reads what the OCI conformance suite wrote, and judges it more strictly than the suite's own exit code.

The suite exits 0 when it skipped tests because the registry answered "unsupported". Here every skip, failure and
error counts against the registry; only what the chosen version of the suite disables itself may be missing, and only
by name. Invariant: results that cannot be read, or that contain too few passes to be a whole run, are a failure.
"""

import dataclasses
import re
import xml.etree.ElementTree

# What version 1.1 of the suite leaves out, and `sparse`, which asks for manifests with missing children to be
# accepted and so contradicts verification on push.
DISABLED_BY_VERSION = {
    "1.1": re.compile(r"cancel|digest header|tag[- ]param|sparse|uploadCancel|digestHeader|tagParam", re.IGNORECASE),
    "dev": re.compile(r"sparse", re.IGNORECASE),
}

# A whole run has over 800 passes; fewer than this means that the suite stopped early.
LEAST_PASSES = 700


@dataclasses.dataclass
class Results:
    """Totals of one run and the names of everything that did not pass."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    disabled: int = 0
    problems: list = dataclasses.field(default_factory=list)

    @property
    def good(self):
        return not self.problems and self.failed == 0 and self.skipped == 0


def read(directory, version):
    """Judges `results.yaml` and `junit.xml` in `directory`."""
    results = Results()
    try:
        sections = read_sections((directory / "results.yaml").read_text())
        suite = xml.etree.ElementTree.parse(directory / "junit.xml").getroot().find("testsuite")
        count_suite(results, suite, version)
    except (OSError, ValueError, AttributeError, xml.etree.ElementTree.ParseError) as error:
        results.failed += 1
        results.problems.append(f"the suite's results cannot be read: {error}")
        return results
    for section in ("apis", "data"):
        for name, status in sections[section].items():
            allowed = status == "Pass" or (status == "Disabled" and DISABLED_BY_VERSION[version].search(name))
            if not allowed:
                results.problems.append(f"{section}: {name}: {status}")
    if results.passed < LEAST_PASSES:
        results.problems.append(f"only {results.passed} tests passed, a whole run has at least {LEAST_PASSES}")
    return results


def count_suite(results, suite, version):
    results.failed = int(suite.get("failures")) + int(suite.get("errors"))
    results.skipped = int(suite.get("skipped", "0"))
    results.disabled = int(suite.get("disabled", "0"))
    results.passed = int(suite.get("tests")) - results.failed - results.skipped - results.disabled
    for case in suite.findall("testcase"):
        name, status = case.get("name"), case.get("status")
        if status == "passed":
            continue
        reason = " ".join((case.findtext("system-out") or case.findtext("system-err") or "").split())
        off = re.search("api (.*) is disabled in the configuration", reason)
        if status == "skipped" and off and DISABLED_BY_VERSION[version].search(off.group(1)):
            continue
        results.problems.append(f"{status}: {name}: {reason[:300]}")


def read_sections(text):
    """The `apis` and `data` maps of results.yaml: two levels of plain `key: value`, so no YAML reader is needed."""
    sections, current = {"apis": {}, "data": {}}, None
    for line in text.splitlines():
        if line and not line[0].isspace():
            current = line.split(":")[0]
        elif current in sections and line.strip():
            name, separator, status = line.strip().rpartition(":")
            if not separator:
                raise ValueError(f"line {line!r} of results.yaml is not 'name: status'")
            sections[current][name.strip("\"'")] = status.strip().strip("\"'")
    for name, section in sections.items():
        if not section:
            raise ValueError(f"results.yaml has no section '{name}'")
    return sections
