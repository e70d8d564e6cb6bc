"""`python -m clipmodel_sync`: the same as `clipmodel-sync`."""

import sys

from clipmodel_sync.cli import main

sys.exit(main())
