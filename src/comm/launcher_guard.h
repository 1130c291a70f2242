// SPDX-License-Identifier: Apache-2.0
// mpirun waits for its daemons on other hosts for a quarter of an hour when the network to them is cut, although all ranks
// have ended. This bounds that wait.
#pragma once

namespace braid {

// Kills the mpirun that started this process in so many seconds, should it still be there; a program of its own does it,
// which ends when mpirun does. Nothing where another program started this process, such as mpirun's daemon or srun.
void bound_launcher(int seconds);

}  // namespace braid
