# SPDX-License-Identifier: Apache-2.0
"""The child process of reading.py: calls what it is asked to and answers, until its input ends."""

import importlib
import os
import sys

from .reading import receive, send


def answer(module, function, arguments):
    try:
        return True, getattr(importlib.import_module(module), function)(*arguments)
    except Exception as problem:  # whatever it is, the parent tells it
        return False, (str(problem).splitlines() or [type(problem).__name__])[0]


def main():
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not stand among the answers
    import h5py  # noqa: F401  the slow part, before the first file's time begins

    send(answers, (True, "ready"))
    while True:
        try:
            request = receive(requests)
        except (EOFError, KeyboardInterrupt):
            return
        send(answers, answer(*request))


if __name__ == "__main__":
    main()
    sys.stdout.flush()
