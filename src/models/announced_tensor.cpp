// SPDX-License-Identifier: Apache-2.0
#include "models/announced_tensor.h"

#include <filesystem>

#include "base/error.h"
#include "models/hf_layout.h"
#include "store/element_convert.h"

namespace braid {

std::unique_ptr<SafetensorsFile> open_announced(const std::string& path) {
  std::error_code problem;
  if (!std::filesystem::is_regular_file(path, problem)) throw UsageError(str(path, ": no such file"));
  try {
    return std::make_unique<SafetensorsFile>(path);
  } catch (const Error& failed) {
    throw UsageError(failed.what());
  }
}

const SafeTensor& announced_tensor(const SafetensorsFile& file, const std::string& name, const Extent& shape,
                                   const std::string& announced) {
  const std::string where = str(file.path(), ": ", name, ": ");
  const SafeTensor* tensor = file.find(name);
  if (!tensor) throw UsageError(str(where, "expected by ", announced, ", and not there"));
  if (tensor->shape != shape) {
    throw UsageError(str(where, "expected shape [", extent_text(shape), "], found [", extent_text(tensor->shape), "]"));
  }
  if (!is_float(tensor->element)) throw UsageError(where + "expected elements F64, F32, BF16 or F16");
  const int64_t bad = first_not_finite(tensor->element, file.data(*tensor), elements_of(shape));
  if (bad >= 0) throw UsageError(str(where, "expected finite weights, element ", bad, " is not"));
  return *tensor;
}

}  // namespace braid
