# SPDX-License-Identifier: Apache-2.0
"""braid-report: finds the command and hands it its options.

A command is a module with HELP (one line), EXAMPLE (shown below --help), add_arguments(parser) and run(options), which
returns the exit code. Modules are imported when their command is asked for: watch does not wait for matplotlib.
"""

import argparse
import difflib
import importlib
import os
import pathlib
import sys

from .reading import READ_TIMEOUT
from .trouble import Failure, Trouble, seconds

COMMANDS = {"page": "page_command", "compare": "compare", "export": "export", "clean": "clean", "engram": "engram",
            "gist": "gist", "depth": "depth", "platforms": "platforms", "watch": "watch"}  # fmt: skip
PURPOSE = {
    "page": "PNG plots and one self-contained HTML page (the default)",
    "compare": "what two or more runs have in common and where they part",
    "export": "CSV or JSON lines",
    "clean": "a plain closed copy of a run file, readable by anything",
    "engram": "what fine-tuning did to the answers of the Engram test",
    "gist": "what compressed contexts still answer",
    "depth": "how residual connections hold with depth: a study's tables, plots and answer",
    "platforms": "the public experiment's numbers beside braid's on CPUs and GPUs",
    "watch": "a live view of a run or a sweep in the terminal",
}


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise Trouble(message)


def usage():
    commands = "\n".join(f"  {name:9}{words}" for name, words in PURPOSE.items())
    return (f"usage: braid-report COMMAND …\n       braid-report FOLDERS --out DIR\n\n"
            f"Shows what run folders hold; works on live, crashed and unfinished runs.\n\n{commands}\n\n"
            f"braid-report COMMAND --help tells more, with an example.")  # fmt: skip


def parser_of(name, module):
    parser = Parser(prog=f"braid-report {name}", description=module.HELP, epilog=f"example:\n{module.EXAMPLE}",
                    formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    module.add_arguments(parser)
    parser.add_argument("--read-timeout", type=seconds, default=READ_TIMEOUT, metavar="SECONDS",
                        help="give up a file that takes longer to read (default %(default)g)")  # fmt: skip
    return parser


def command_in(argv):
    """(command, its arguments). Folders without a command mean page."""
    first = argv[0]
    if first in COMMANDS:
        return first, argv[1:]
    if first.startswith("-") or pathlib.Path(first).exists() or set(first) & set("/\\."):
        return "page", argv
    nearest = difflib.get_close_matches(first.lower(), COMMANDS, n=1, cutoff=0.0)
    raise Trouble(f"'{first}' is neither a command nor a folder; did you mean '{nearest[0]}'? "
                  f"The commands are {', '.join(COMMANDS)}")  # fmt: skip


def run(argv):
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage(), file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    name, rest = command_in(argv)
    module = importlib.import_module(f".{COMMANDS[name]}", __package__)
    return module.run(parser_of(name, module).parse_args(rest))


def main(argv=None):
    try:
        return run(sys.argv[1:] if argv is None else list(argv))
    except (Trouble, Failure) as problem:
        print(f"braid-report: {problem}", file=sys.stderr)
        return 2 if isinstance(problem, Trouble) else 1
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
