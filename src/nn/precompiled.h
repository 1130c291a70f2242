// SPDX-License-Identifier: Apache-2.0
// What nearly every file that touches tensors includes, compiled once. Not torch/torch.h: that costs 14 s a file.
#pragma once

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>
