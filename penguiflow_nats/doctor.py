"""Examines a server, an account and a flow, and says what to change. Reads only."""

from __future__ import annotations

from collections.abc import Sequence

from penguiflow_nats import (
    doctor_checks_account,
    doctor_checks_backlog,
    doctor_checks_flow,
    doctor_checks_server,
    doctor_checks_state,
    doctor_checks_streams,
)
from penguiflow_nats.doctor_facts import look
from penguiflow_nats.doctor_findings import SEVERITIES, Case, Facts, Finding

CHECKS = (
    *doctor_checks_server.CHECKS,
    *doctor_checks_account.CHECKS,
    *doctor_checks_streams.CHECKS,
    *doctor_checks_state.CHECKS,
    *doctor_checks_flow.CHECKS,
    *doctor_checks_backlog.CHECKS,
)


def diagnose(facts: Facts, case: Case) -> list[Finding]:
    """Every finding, the worst first."""
    found = [finding for check in CHECKS for finding in check(facts, case)]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


def summary(findings: Sequence[Finding]) -> str:
    """How many of which severity."""
    counts = {each: sum(f.severity == each for f in findings) for each in SEVERITIES}
    return ", ".join(
        f"{count} {severity}{'' if count == 1 else 's'}" for severity, count in counts.items()
    )


__all__ = ["CHECKS", "Case", "Facts", "Finding", "diagnose", "look", "summary"]
