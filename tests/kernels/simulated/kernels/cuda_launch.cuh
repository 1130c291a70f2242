// SPDX-License-Identifier: Apache-2.0
// Stands in for src/kernels/cuda_launch.cuh where a test compiles CUDA code for the host: threads of a block are fibers of one
// thread, which take turns at barriers and shuffles, in either order. It finds wrong indices, sums and missing barriers;
// not what only a GPU does: alignment of words, orders of memory between blocks, speed.
#pragma once

#include <ucontext.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <vector>

#include <cuda_bf16.h>
#include <cuda_runtime.h>

namespace simulated {

// A block's threads. One exists at a time.
class Block {
 public:
  Block(int threads, bool backwards, std::function<void()> body) : threads_(threads), backwards_(backwards), body_(std::move(body)) {
    current_ = this;
    fibers_.resize(size_t(threads));
    for (Fiber& fiber : fibers_) {
      getcontext(&fiber.context);
      fiber.context.uc_stack.ss_sp = fiber.stack.get();
      fiber.context.uc_stack.ss_size = stack_bytes;
      fiber.context.uc_link = &caller_;
      makecontext(&fiber.context, [] { current_->body_(), current_->end(); }, 0);
    }
  }

  void run() {
    for (int64_t turns = 0; running_ > 0; ++turns) {
      if (turns > 1'000'000) std::abort();  // threads wait for some that never come
      for (int turn = 0; turn < threads_; ++turn) {
        thread_ = backwards_ ? threads_ - 1 - turn : turn;
        Fiber& fiber = fibers_[size_t(thread_)];
        if (!fiber.ended) swapcontext(&caller_, &fiber.context);
      }
    }
  }

  static Block& current() { return *current_; }
  int thread() const { return thread_; }

  void meet() { wait_at(whole_, running_); }

  // What the lane `from` of the same warp holds.
  template <class A>
  A exchange(A value, int from) {
    const int warp = thread_ / 32;
    Warp& own = warps_[size_t(warp)];
    A& slot = reinterpret_cast<A&>(own.slots[size_t(own.meeting.round % 2)][size_t(thread_ % 32)]);
    slot = value;
    const int64_t round = own.meeting.round;
    wait_at(own.meeting, 32);
    return reinterpret_cast<const A&>(own.slots[size_t(round % 2)][size_t(from)]);
  }

 private:
  static constexpr size_t stack_bytes = 64 << 10;
  struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack{new char[stack_bytes]};
    bool ended = false;
  };
  struct Meeting {
    int arrived = 0;
    int64_t round = 0;
  };
  struct Warp {
    Meeting meeting;
    std::array<std::array<double, 32>, 2> slots;
  };

  void end() {
    fibers_[size_t(thread_)].ended = true;
    --running_;
  }
  void wait_at(Meeting& meeting, int all) {
    const int64_t round = meeting.round;
    if (++meeting.arrived == all) {
      meeting.arrived = 0;
      ++meeting.round;
      return;
    }
    while (meeting.round == round) swapcontext(&fibers_[size_t(thread_)].context, &caller_);
  }

  static inline Block* current_ = nullptr;
  int threads_, thread_ = 0, running_ = threads_;
  bool backwards_;
  std::function<void()> body_;
  std::vector<Fiber> fibers_;
  ucontext_t caller_;
  Meeting whole_;
  std::array<Warp, 32> warps_;
};

inline uint3 block_index{};
inline dim3 grid_size{}, block_size{};
inline bool backwards = false;  // the order of threads
inline uint3 thread_index() { return {unsigned(Block::current().thread()), 0, 0}; }

template <class Body>
void launch(dim3 grid, int threads, const Body& body) {
  grid_size = grid, block_size = dim3(unsigned(threads));
  for (block_index.z = 0; block_index.z < grid.z; ++block_index.z) {
    for (block_index.y = 0; block_index.y < grid.y; ++block_index.y) {
      for (block_index.x = 0; block_index.x < grid.x; ++block_index.x) Block(threads, backwards, body).run();
    }
  }
}

}  // namespace simulated

#define threadIdx simulated::thread_index()
#define blockIdx simulated::block_index
#define blockDim simulated::block_size
#define gridDim simulated::grid_size
#undef __shared__
#define __shared__ static
#undef __constant__
#define __constant__
#undef __launch_bounds__
#define __launch_bounds__(...)
#undef __forceinline__
#define __forceinline__ inline
inline void __syncthreads() { simulated::Block::current().meet(); }
template <class A>
A __shfl_down_sync(unsigned, A value, int offset) {
  const int lane = simulated::Block::current().thread() % 32;
  return simulated::Block::current().exchange(value, lane + offset < 32 ? lane + offset : lane);
}
template <class A>
A __shfl_xor_sync(unsigned, A value, int mask) {
  return simulated::Block::current().exchange(value, simulated::Block::current().thread() % 32 ^ mask);
}
template <class T>
T __ldcs(const T* p) { return *p; }
template <class T>
T __ldg(const T* p) { return *p; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
using std::min;

#include "kernels/cuda_support.cuh"

namespace braid::kernels {

inline void start_next() {}
inline void wait_for_earlier() {}
inline double* dynamic_shared() {
  static double memory[4096];
  return memory;
}

template <auto kernel, class... Given>
void launch_following(dim3 grid, int threads, size_t, cudaStream_t, const char*, Given... given) {
  simulated::launch(grid, threads, [&] { kernel(given...); });
}

}  // namespace braid::kernels
