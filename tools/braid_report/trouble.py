# SPDX-License-Identifier: Apache-2.0
"""What commands raise, each told in one line; and the check of an option that several have."""

import argparse


class Trouble(Exception):
    """Wrong use: exit code 2."""


class Failure(Exception):
    """Rightly used, and yet it did not work: exit code 1."""


def seconds(words):
    try:
        value = float(words)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"'{words}' is no positive number of seconds")
    return value
