"""`python -m tdw` runs the command `tdw`."""

from tdw.cli.main import main

if __name__ == "__main__":
    import sys

    sys.exit(main())
