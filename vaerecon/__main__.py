"""``python -m vaerecon``: the command line."""

from vaerecon.cli.main import main

if __name__ == "__main__":
    main()
