"""`python -m penguiflow_nats.commands worker ...`: these commands, also where nothing is installed
and so no entry point can be found, as in a checkout."""

import sys

from penguiflow.cli.commands import of
from penguiflow.cli.main import main
from penguiflow_nats.commands import audit, trace, worker

if __name__ == "__main__":
    sys.exit(main(commands=of(worker.command, trace.command, audit.command)))
