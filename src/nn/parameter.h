// SPDX-License-Identifier: Apache-2.0
// Weights as Braid sees them: a Parameter is a named box of a global tensor with a gradient slot; a ParameterSet holds
// all of a model's in flat buffers, so that one optimiser call and one bucketed reduction serve them all. Layers read
// `compute` in forward, add to `gradient` in backward and say so; who listens (the gradient reducer) is not their business.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace braid {

// fp32: everything in fp32. bf16: fp32 masters and gradients, bf16 copies for the matrix products.
// fp64: everything in double, the reference of the tests.
enum class Precision { fp32, bf16, fp64 };
at::ScalarType master_type(Precision precision);   // masters, gradients, optimiser state, residual stream
at::ScalarType compute_type(Precision precision);  // inputs of matrix products

// The part of a global tensor that this process holds.
struct Box {
  std::vector<int64_t> origin, shape;
};

// Groups: matrices; vectors and mixing logits, which some recipes exempt from weight decay; what an adapter trains at
// another rate.
constexpr int matrix_group = 0, vector_group = 1, faster_group = 2;

struct Parameter {
  std::string name;
  std::vector<int64_t> shape;  // global
  Box slice;                   // what is here; the whole tensor unless something shards it
  std::vector<Box> parts;      // where that is several boxes, one below the other: each; `slice` has the shape of all
  int group = 0;               // parameters of one group are contiguous and share a weight decay
  bool trainable = true;
  bool stored = true;          // false, where frozen: its layer has another source for it, and nothing is here
  int contributions = 1;       // gradients added per backward (2 for a tied embedding)
  bool reads_master = true;    // false: its layer reads `compute` alone
  int64_t offset = 0;          // first element in the flat buffers

  at::Tensor master;    // in master_type
  at::Tensor compute;   // in compute_type; the master itself unless bf16
  at::Tensor gradient;  // in master_type, accumulated over micro-batches; undefined while on_grad_wanted would make it

  bool unwritten = false;  // `gradient` holds other numbers than zeros, and nothing has been added yet

  // Called when the first contribution meets no slot, and gives `gradient` one.
  std::function<void(Parameter&)> on_grad_wanted;
  // What layers add their contribution to.
  at::Tensor& gradient_slot();
  // For a layer that can write all of `gradient` as well as add to it, which spares clearing it: true, once, where it must.
  bool takes_first_contribution();
  // Called when this backward's last contribution has been added.
  std::function<void(Parameter&)> on_grad_ready;
  void gradient_contributed();
  void start_backward() { pending_ = contributions; }
  int64_t elements() const;  // here, whether or not they have memory
  bool is_whole() const { return slice.shape == shape; }
  std::vector<Box> boxes() const { return parts.empty() ? std::vector<Box>{slice} : parts; }

 private:
  int pending_ = 0;
};

// Of the global tensor `whole` what the parameter holds, to its master.
void take_values(Parameter& parameter, const at::Tensor& whole);

// A run of the flat buffers whose parameters share a group.
struct GroupRange {
  int group = 0;
  int64_t first = 0, count = 0;  // elements
};

class ParameterSet {
 public:
  // Each tensor starts at a multiple of this: the block of 8-bit optimisers, and where sharding may cut.
  static constexpr int64_t alignment = 256;

  Parameter& add(const std::string& name, std::vector<int64_t> shape, int group = 0);
  // Lays all parameters out by group, then in reverse order of creation (the order in which backward finishes them).
  void allocate(Precision precision, const at::Device& device);
  // The same without memory, which someone else gives each parameter: master() and gradient() tell type and device alone.
  void lay_out(Precision precision, const at::Device& device);
  // Each tensor by itself and none trainable: matrices in compute type only (their master is that one), vectors as
  // above; no gradients. What is not stored has a name and a shape only.
  void allocate_frozen(Precision precision, const at::Device& device);

  std::deque<Parameter>& all() { return parameters_; }  // in order of creation
  const std::deque<Parameter>& all() const { return parameters_; }
  Parameter& named(const std::string& name);
  std::vector<Parameter*> in_buffer_order();
  std::vector<GroupRange> groups() const { return groups_; }

  at::Tensor master() const { return master_; }      // [padded elements]
  at::Tensor gradient() const { return gradient_; }  // [padded elements]; undefined, like master(), where frozen
  int64_t elements() const;                          // without padding
  Precision precision() const { return precision_; }
  // What the learning rate is multiplied by for the parameters of a group; 1 unless set.
  void set_rate(int group, double factor) { rates_[group] = factor; }
  double rate(int group) const { return rates_.count(group) ? rates_.at(group) : 1.0; }

  // The flat buffers go, as if they had been laid out without.
  void release();
  void zero_gradients();
  void start_backward();   // before each backward pass
  void refresh_compute();  // after the masters changed: bf16 copies follow

 private:
  std::deque<Parameter> parameters_;
  std::vector<GroupRange> groups_;
  std::map<int, double> rates_;
  at::Tensor master_, gradient_, compute_;
  Precision precision_ = Precision::fp32;
};

}  // namespace braid
