"""``python -m vaerecon``: the command line."""

import sys

from vaerecon.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
