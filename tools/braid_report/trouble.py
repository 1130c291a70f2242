# SPDX-License-Identifier: Apache-2.0
"""What commands raise; each is told in one line."""


class Trouble(Exception):
    """Wrong use: exit code 2."""


class Failure(Exception):
    """Rightly used, and yet it did not work: exit code 1."""
