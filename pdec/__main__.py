"""``python -m pdec`` is the command ``pdec``."""

import sys

from pdec.cli import main

sys.exit(main())
