// SPDX-License-Identifier: Apache-2.0
#include "nn/kernel_call.h"

#include <c10/core/impl/VirtualGuardImpl.h>

#include "base/error.h"
#include "nn/precompiled.h"
#if BRAID_CUDA
#include <c10/cuda/CUDAStream.h>
#endif

namespace braid {

void* current_stream_of(const at::Device& device) {
#if BRAID_CUDA
  if (device.is_cuda()) return c10::cuda::getCurrentCUDAStream(device.index()).stream();
#endif
  return nullptr;
}

void wait_for(const at::Device& device) {
  if (!device.is_cpu()) c10::impl::VirtualGuardImpl(device.type()).synchronizeDevice(device.index());
}

kernels::Launch launch_for(const at::Tensor& x) {
  return {x.is_cuda() ? kernels::Place::cuda : kernels::Place::cpu, current_stream_of(x.device())};
}

kernels::Element element_of(const at::Tensor& x) {
  switch (x.scalar_type()) {
    case at::kFloat: return kernels::Element::float32;
    case at::kBFloat16: return kernels::Element::bfloat16;
    case at::kDouble: return kernels::Element::float64;
    default: throw Error(str("no kernel takes elements of type ", c10::toString(x.scalar_type())));
  }
}

}  // namespace braid
