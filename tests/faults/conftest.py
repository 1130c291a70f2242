# SPDX-License-Identifier: Apache-2.0
import pytest
from fault_run import train


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory):
    """The run that nothing happens to, by overrides and number of ranks; each is made once."""
    made = {}

    def run(*overrides, ranks=1):
        if (overrides, ranks) not in made:
            out = tmp_path_factory.mktemp("unbroken") / "run"
            train(out, *overrides, ranks=ranks)
            made[overrides, ranks] = out
        return made[overrides, ranks]

    return run
