# SPDX-License-Identifier: Apache-2.0
# The target braid::torch: LibTorch's headers and libraries. The wheel's own TorchConfig.cmake insists on a full CUDA
# toolkit even for a CPU build, so the target is made here. A LibTorch of your own is taken from CMAKE_PREFIX_PATH or
# Torch_DIR (…/share/cmake/Torch).
set(BRAID_TORCH_VERSION 2.11)
file(GLOB braid_wheel_torch "${BRAID_VENV}/lib/python3*/site-packages/torch")
if(Torch_DIR)
  get_filename_component(braid_torch_hint "${Torch_DIR}/../../.." ABSOLUTE)
endif()
find_path(BRAID_TORCH_ROOT include/ATen/ATen.h HINTS ${braid_torch_hint} ${braid_wheel_torch} PATH_SUFFIXES libtorch)
if(NOT BRAID_TORCH_ROOT)
  message(FATAL_ERROR "LibTorch was not found: run launch/setup, or pass -DTorch_DIR=…/share/cmake/Torch")
endif()
file(STRINGS "${BRAID_TORCH_ROOT}/include/torch/headeronly/version.h" braid_torch_numbers
     REGEX "define TORCH_VERSION_(MAJOR|MINOR) ")
string(REGEX REPLACE ".*MAJOR ([0-9]+).*MINOR ([0-9]+).*" "\\1.\\2" braid_torch_found "${braid_torch_numbers}")
if(braid_torch_found VERSION_LESS BRAID_TORCH_VERSION)
  message(FATAL_ERROR "LibTorch ${braid_torch_found} at ${BRAID_TORCH_ROOT}: ${BRAID_TORCH_VERSION} or newer is needed")
endif()

add_library(braid_torch INTERFACE)
add_library(braid::torch ALIAS braid_torch)
target_include_directories(braid_torch SYSTEM INTERFACE
  "${BRAID_TORCH_ROOT}/include" "${BRAID_TORCH_ROOT}/include/torch/csrc/api/include")
set(braid_torch_lib "${BRAID_TORCH_ROOT}/lib")
target_link_libraries(braid_torch INTERFACE "${braid_torch_lib}/libtorch_cpu.so" "${braid_torch_lib}/libc10.so")
if(BRAID_CUDA)
  # Nothing refers to libtorch_cuda by symbol, yet loading it registers the CUDA back end.
  target_link_libraries(braid_torch INTERFACE
    "-Wl,--no-as-needed" "${braid_torch_lib}/libtorch_cuda.so" "${braid_torch_lib}/libc10_cuda.so" "-Wl,--as-needed")
endif()
# torch's own libgomp must be the one OpenMP runtime of the process.
set(CMAKE_BUILD_RPATH "${braid_torch_lib}")
message(STATUS "LibTorch ${braid_torch_found}: ${BRAID_TORCH_ROOT}")
