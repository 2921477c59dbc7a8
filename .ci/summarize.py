"""Prints the counts of pytest's JUnit reports, given as arguments; fails if a report has no passed test."""

import sys
from pathlib import Path
from xml.etree import ElementTree


def main(paths: list[str]) -> None:
    """Prints a line per report and one with the totals."""
    totals = {"passed": 0, "failed": 0, "skipped": 0}
    for path in paths:
        suites = list(ElementTree.parse(path).getroot().iter("testsuite"))
        tests, skipped, *bad = (
            sum(int(s.get(k, 0)) for s in suites) for k in ("tests", "skipped", "failures", "errors")
        )
        counts = {"passed": tests - skipped - sum(bad), "failed": sum(bad), "skipped": skipped}
        print(f"{Path(path).stem}: {counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
        if not counts["passed"]:
            sys.exit(f"{path}: no test passed")
        totals = {name: total + counts[name] for name, total in totals.items()}
    print(f"{totals['passed']} passed, {totals['failed']} failed, {totals['skipped']} skipped")


if __name__ == "__main__":
    main(sys.argv[1:])
