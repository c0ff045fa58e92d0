"""``python -m bayesmm`` is the command ``bayesmm``."""

import sys

from bayesmm.cli import main

if __name__ == "__main__":
    sys.exit(main())
