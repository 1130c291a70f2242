// SPDX-License-Identifier: Apache-2.0
// Grids of the stream kernels, and from void pointers, Element and the number of streams to their templates. Included
// by stream_mix.cu within its anonymous namespace.

// Which grid: its size depends on the shape alone, at most `most_blocks`, which is a few a multiprocessor on any
// device.
struct Grid {
  static constexpr int64_t most_blocks = 1024;
  dim3 block, blocks;

  Grid(const StreamShape& shape, int columns_a_thread, bool reduces) {
    const int64_t groups = (shape.width + columns_a_thread - 1) / columns_a_thread;
    unsigned x = 1;
    while (x < threads && x < groups) x *= 2;
    if (reduces && shape.per_token) x = threads;  // a token's sums are added up over its block
    block = dim3(x, threads / x);
    const int64_t wanted = (shape.tokens + block.y - 1) / block.y;
    blocks = dim3(unsigned(wanted < most_blocks ? wanted : most_blocks));
  }
};

template <int S, int W, class T>
struct Ops {
  using A = typename Accumulate<T>::Type;
  static constexpr int N = Streams<S>::N;

  static Arrays<T, A> arrays(const void* X, const void* f, const void* X_out, const void* dX_out, const void* dm,
                             void* to_X, void* to_narrow, const void* H, const void* c, const void* w) {
    return {static_cast<const T*>(X),      static_cast<const T*>(f),  static_cast<const T*>(X_out),
            static_cast<const T*>(dX_out), static_cast<const T*>(dm), static_cast<T*>(to_X),
            static_cast<T*>(to_narrow),    static_cast<const A*>(H),  static_cast<const A*>(c),
            static_cast<const A*>(w)};
  }

  static void read(Launch launch, const StreamShape& shape, const Arrays<T, A>& p) {
    const Grid grid(shape, W, false);
    read_kernel<S, W, T, A><<<grid.blocks, grid.block, 0, stream_of(launch)>>>(shape, p);
  }

  static void write(Launch launch, const StreamShape& shape, const Arrays<T, A>& p) {
    const Grid grid(shape, W, false);
    write_kernel<S, W, T, A><<<grid.blocks, grid.block, 0, stream_of(launch)>>>(shape, p);
  }

  static void read_backward(Launch launch, const StreamShape& shape, const Arrays<T, A>& p, bool accumulate, void* dw) {
    const ReadGradients<N, A> out{static_cast<A*>(dw), int(shape.streams)};
    const Grid grid(shape, W, true);
    const Scratch<A> partial(int64_t(grid.blocks.x) * out.count, stream_of(launch));
    read_backward_kernel<S, W, T, A>
        <<<grid.blocks, grid.block, 0, stream_of(launch)>>>(shape, p, accumulate, partial.get(), out);
    add(launch, shape, grid, partial.get(), out);
  }

  static void write_backward(Launch launch, const StreamShape& shape, const Arrays<T, A>& p, void* dH, void* dc,
                             void* dw) {
    const WriteGradients<N, A> out{static_cast<A*>(dH), static_cast<A*>(dc), static_cast<A*>(dw), int(shape.streams)};
    const Grid grid(shape, W, true);
    const Scratch<A> partial(int64_t(grid.blocks.x) * out.count, stream_of(launch));
    write_backward_kernel<S, W, T, A><<<grid.blocks, grid.block, 0, stream_of(launch)>>>(shape, p, partial.get(), out);
    add(launch, shape, grid, partial.get(), out);
  }

  template <class Gradients>
  static void add(Launch launch, const StreamShape& shape, const Grid& grid, const A* partial, const Gradients& out) {
    if (shape.per_token) return;
    add_partials<A, Gradients>
        <<<Gradients::count, add_threads, 0, stream_of(launch)>>>(int(grid.blocks.x), partial, out);
  }
};

// Columns a thread with wide accesses: 16 bytes of float, 8 of bf16, which keeps the backward within its registers.
constexpr int wide = 4;

template <class T, class Act>
void with_streams(int64_t streams, bool aligned, const Act& act) {
  if (!aligned) {
    switch (streams) {
      case 1: return act(Ops<1, 1, T>());
      case 2: return act(Ops<2, 1, T>());
      case 4: return act(Ops<4, 1, T>());
      default: return act(Ops<0, 1, T>());
    }
  }
  switch (streams) {
    case 1: return act(Ops<1, wide, T>());
    case 2: return act(Ops<2, wide, T>());
    case 4: return act(Ops<4, wide, T>());
    default: return act(Ops<0, wide / 2, T>());
  }
}

// `arrays` are those of elements (null for none): they and the width decide on wide accesses. float64, the reference in
// tests, has one kernel for all.
template <class Act>
void with_types(const StreamShape& shape, Element element, std::initializer_list<const void*> arrays, const Act& act) {
  if (shape.tokens == 0 || shape.width == 0) return;
  bool aligned = shape.width % wide == 0;
  for (const void* array : arrays) aligned = aligned && is_aligned(array, element == Element::bfloat16 ? 8 : 16);
  switch (element) {
    case Element::float32: with_streams<float>(shape.streams, aligned, act); break;
    case Element::bfloat16: with_streams<__nv_bfloat16>(shape.streams, aligned, act); break;
    case Element::float64: act(Ops<0, 1, double>()); break;
  }
  check_cuda(cudaGetLastError(), "stream mixing");
}
