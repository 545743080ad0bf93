"""`python -m tdw` is the command `tdw`."""

import sys

from tdw.cli import main

sys.exit(main())
