// SPDX-License-Identifier: Apache-2.0
// A communicator whose calls are written into a CollectiveRecorder, for the watchdog.
#pragma once

#include <memory>
#include <string>

#include "comm/communicator.h"
#include "comm/recorder.h"

namespace braid {

// What it splits off is recorded as well, under `name`/split-N-COLOUR.
std::unique_ptr<Communicator> make_recording_communicator(std::unique_ptr<Communicator> inner,
                                                          std::shared_ptr<CollectiveRecorder> recorder,
                                                          const std::string& name);

// A communicator of the same ranks for waits that may rightly be long, such as that for the slowest disk: its calls are
// recorded as PARENT/`name`, but never time out. Of one that is not recorded, just another. Collective.
std::unique_ptr<Communicator> make_patient_split(Communicator& comm, const std::string& name);

}  // namespace braid
