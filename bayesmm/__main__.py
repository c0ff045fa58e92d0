"""``python -m bayesmm`` is the command ``bayesmm``."""

import sys

from bayesmm.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
