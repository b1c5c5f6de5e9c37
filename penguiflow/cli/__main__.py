"""`python -m penguiflow.cli` is `penguiflow`."""

import sys

from penguiflow.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
