"""`python -m normscope`, the same as `normscope`."""

import sys

from normscope.cli import main

sys.exit(main())
