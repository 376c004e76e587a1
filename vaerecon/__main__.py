"""``python -m vaerecon``: the command line."""

import sys

from vaerecon.cli import main

if __name__ == "__main__":
    sys.exit(main())
