// SPDX-License-Identifier: Apache-2.0
// Arrays of several dimensions, and files with a seal of their own (store/sealed_file.h) that are written at once.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "store/h5.h"

namespace braid {

namespace h5 {

// Contiguous, allocated at once; the caller writes all of it.
Dataset create_array(File& file, const std::string& name, Element element, const std::vector<int64_t>& shape);

}  // namespace h5

// A new file that `fill` writes into, sealed: there as a whole, or what was there before. Error.
void write_sealed_h5(const std::string& path, const std::function<void(h5::File&)>& fill);

}  // namespace braid
