"""Compare the operator's rights with what it asked of API servers during a whole test run.

python dev/rights.py FOLDER    # of the summaries that control planes left, see localcluster/audit.py

Exit code 1 when the operator was refused something that its rules do not grant, or when a rule grants what no test has
ever needed. What the rules grant and the API server still refused is a test's own doing: it took a right away.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from localcluster.audit import Call, read_summaries
from longshore_operator.rbac import LEASE_RULES, RULES

# Names of the service accounts that operators run as: of the tests' operator, and of the chart's.
ACCOUNTS = ("operator", "longshore")

# Checked by an admission plugin within another request, so it never stands alone in an audit log. The control planes of
# the tests have that plugin: without these rights, Deployments with owners would be refused.
WITHIN_OTHERS = ("brokers/finalizers", "workerpools/finalizers")

Right = tuple[str, str, str, str]  # verb, group, resource, name (or empty: any)


def granted() -> Iterator[Right]:
    """Give every right of the operator's rules, one by one."""
    for rule in RULES + LEASE_RULES:
        for verb, resource, name in product(rule.verbs, rule.resources, rule.names or ("",)):
            yield verb, rule.group, resource, name


def differences(found: Counter[Call]) -> list[str]:
    """Say which calls no rule grants, and which rights no call has used."""
    rights = set(granted())
    ours = [call for call in found if call.account in ACCOUNTS]
    used, told = set(), []
    for call in sorted(ours):
        matching = {(call.verb, call.group, call.resource, name) for name in (call.name, "")} & rights
        if call.allowed:
            used |= matching
        elif not matching:
            told.append(
                f"refused {found[call]} times, and no rule grants it: {_words(call.verb, call.resource, call.group)}"
            )
    told += [
        f"granted, and never used: {_words(verb, resource, group)}"
        for verb, group, resource, name in sorted(rights - used)
        if resource not in WITHIN_OTHERS
    ]
    return told


def _words(verb: str, resource: str, group: str) -> str:
    return f"{verb} {resource}" + (f" of {group}" if group else "")


def main() -> int:
    found = read_summaries(Path(sys.argv[1]))
    told = differences(found)
    for line in told:
        print(f"rights of the operator: {line}", file=sys.stderr)
    if not told:
        total = sum(count for call, count in found.items() if call.account in ACCOUNTS)
        print(f"rights of the operator: every one was used, and none was missing, in {total} calls")
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main())
