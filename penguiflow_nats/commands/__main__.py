"""`python -m penguiflow_nats.commands worker ...`: these commands, also where nothing is installed
and so no entry point can be found, as in a checkout."""

import sys

from penguiflow.cli.commands import of
from penguiflow.cli.main import main
from penguiflow_nats.commands import agent_command, agents, audit, trace, worker

if __name__ == "__main__":
    commands = (
        worker.command,
        trace.command,
        audit.command,
        agent_command.command,
        agents.command,
    )
    sys.exit(main(commands=of(*commands)))
