// SPDX-License-Identifier: Apache-2.0
#include "kernels/connection.h"

#include "base/error.h"
#include "kernels/connection_cpu.h"
#include "kernels/connection_cuda.h"
#include "kernels/cpu_level.h"

namespace braid::kernels {

namespace {

const ConnectionTable& cpu(Element element) {
  if (element == Element::float64) return level_base::connections;  // the only level that has it
  switch (chosen_cpu_level()) {
    case CpuLevel::avx512:
      return level_avx512::connections;
    case CpuLevel::avx2:
      return level_avx2::connections;
    default:
      return level_base::connections;
  }
}

void check(const ConnectionShape& shape) {
  if (!has_connection_kernel(shape.mixing, shape.streams))
    throw Error(str("connection: expected 2, 4 or 8 streams, permutations of 2 or 4; got ", shape.streams));
}

}  // namespace

bool has_connection_kernel(Mixing mixing, int64_t streams) {
  return streams == 2 || streams == 4 || (streams == 8 && mixing != Mixing::permutations);
}

int64_t connection_logits(Mixing mixing, int64_t streams) {
  int64_t permutations = 1;
  for (int64_t i = 2; i <= streams; ++i) permutations *= i;
  return 2 * streams + (mixing == Mixing::permutations ? permutations : streams * streams);
}

int64_t connection_norms(Mixing mixing, int64_t streams) { return mixing == Mixing::unconstrained ? streams : 1; }

int64_t connection_scratch_bytes(Launch launch, const ConnectionShape& shape, Element element) {
  check(shape);
  return launch.place == Place::cuda ? connection_scratch_bytes_cuda(shape, element) : 0;
}

void connection(Launch launch, const ConnectionShape& shape, Element element, const ConnectionWrite& in,
                const ConnectionWeights& weights, const ConnectionOutputs& out, void* scratch) {
  check(shape);
  if (launch.place == Place::cuda) return connection_cuda(launch, shape, element, in, weights, out, scratch);
  cpu(element).forward(shape, element, in, weights, out);
}

void connection_backward(Launch launch, const ConnectionShape& shape, Element element, const ConnectionWrite& in,
                         const ConnectionWeights& weights, const ConnectionSaved& saved,
                         const ConnectionOutputGradients& given, const ConnectionInputGradients& out, void* scratch) {
  check(shape);
  if (launch.place == Place::cuda) {
    return connection_backward_cuda(launch, shape, element, in, weights, saved, given, out, scratch);
  }
  cpu(element).backward(shape, element, in, weights, saved, given, out);
}

}  // namespace braid::kernels
