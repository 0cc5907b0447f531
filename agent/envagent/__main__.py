"""`python -m envagent`: the command line without its script."""

import sys

from envagent.cli import main

if __name__ == "__main__":
    sys.exit(main())
