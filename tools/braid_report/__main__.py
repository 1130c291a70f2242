# SPDX-License-Identifier: Apache-2.0
"""python -m braid_report"""

import sys

from .command import main

sys.exit(main())
