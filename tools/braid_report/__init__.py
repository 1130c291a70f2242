# SPDX-License-Identifier: Apache-2.0
"""Reads run.h5 files and draws what they hold."""
