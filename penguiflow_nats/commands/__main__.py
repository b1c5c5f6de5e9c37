"""`python -m penguiflow_nats.commands worker ...`: these commands, also where nothing is installed
and so no entry point can be found, as in a checkout."""

from __future__ import annotations

import sys
from functools import partial
from importlib import import_module

from penguiflow.cli.commands import Command
from penguiflow.cli.main import main

MODULES = {
    "worker": "worker",
    "trace": "trace",
    "audit": "audit",
    "agent": "agent_command",
    "agents": "agents",
    "tenants": "tenants",
    "doctor": "doctor",
    "history": "history",
    "dlq": "dlq",
    "topology": "topology",
}
"""Where each command is. Only the one that is asked for is imported."""


def _load(module: str) -> Command:
    found: Command = import_module(f"penguiflow_nats.commands.{module}").command
    return found


if __name__ == "__main__":
    commands = {name: partial(_load, module) for name, module in MODULES.items()}
    sys.exit(main(commands=commands))
