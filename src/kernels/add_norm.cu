// SPDX-License-Identifier: Apache-2.0
// One block per row; the gradients of weight and bias are summed over chunks of rows per column and the chunks added in
// a fixed order, so that they are the same from run to run.
#include "kernels/add_norm_cuda.h"
#include "kernels/cuda_launch.cuh"

namespace braid::kernels {

namespace {

constexpr int row_threads = 256;

// The sum over the block, in every thread. `shared` holds a value per warp.
template <class A>
__device__ A total(A value, A* shared) {
  for (int offset = warp_size / 2; offset > 0; offset /= 2) value += __shfl_down_sync(whole_warp, value, offset);
  if (threadIdx.x % warp_size == 0) shared[threadIdx.x / warp_size] = value;
  __syncthreads();
  A sum = 0;
  for (int warp = 0; warp < row_threads / warp_size; ++warp) sum += shared[warp];
  __syncthreads();
  return sum;
}

// In what follows T is the stored type of f and y, A the type of the residual stream.

template <class T, class A = typename Accumulate<T>::Type>
__global__ void __launch_bounds__(row_threads)
    forward_kernel(int64_t width, double epsilon, const A* x, const T* f, const A* weight, const A* bias, A* u, T* y,
                   A* mean, A* rstd) {
  __shared__ A shared[row_threads / warp_size];
  start_next();
  wait_for_earlier();
  const int64_t row = blockIdx.x, at = row * width;
  A sum = 0;
  for (int64_t d = threadIdx.x; d < width; d += row_threads) {
    const A joined = x[at + d] + (f ? A(widen(f[at + d])) : A(0));
    if (f) u[at + d] = joined;
    sum += joined;
  }
  const A* const row_of = (f ? u : x) + at;  // each thread reads again what it wrote itself
  const A centre = bias ? total(sum, shared) / A(width) : A(0);
  A squares = 0;
  for (int64_t d = threadIdx.x; d < width; d += row_threads) squares += (row_of[d] - centre) * (row_of[d] - centre);
  // Where the variance overflows the scale is 0; where the mean's square does too, NaN as of E[u^2] - mean^2.
  const A variance = total(squares, shared) / A(width) + (centre * centre - centre * centre);
  const A scale = A(1) / A(sqrt(double(variance) + epsilon));
  for (int64_t d = threadIdx.x; d < width; d += row_threads) {
    y[at + d] = narrow<T>((row_of[d] - centre) * scale * weight[d] + (bias ? bias[d] : A(0)));
  }
  if (threadIdx.x != 0) return;
  if (bias) mean[row] = centre;
  rstd[row] = scale;
}

template <class T, class A = typename Accumulate<T>::Type>
__global__ void __launch_bounds__(row_threads)
    backward_kernel(int64_t width, const A* u, const A* weight, const A* mean, const A* rstd, const T* dy, const A* du,
                    A* dx, T* df) {
  __shared__ A shared[row_threads / warp_size];
  const int64_t row = blockIdx.x, at = row * width;
  const A centre = mean ? mean[row] : A(0), scale = rstd[row];
  A sum_g = 0, sum_gn = 0;
  for (int64_t d = threadIdx.x; d < width; d += row_threads) {
    const A g = widen(dy[at + d]) * weight[d];
    sum_g += g;
    sum_gn += g * (u[at + d] - centre) * scale;
  }
  const A mean_g = mean ? total(sum_g, shared) / A(width) : A(0), mean_gn = total(sum_gn, shared) / A(width);
  for (int64_t d = threadIdx.x; d < width; d += row_threads) {
    const A normal = (u[at + d] - centre) * scale;
    const A g = (widen(dy[at + d]) * weight[d] - mean_g - normal * mean_gn) * scale + (du ? du[at + d] : A(0));
    dx[at + d] = g;
    if (df) df[at + d] = narrow<T>(g);
  }
}

constexpr int column_threads = 32, row_lanes = 8, most_chunks = 64;

// sums [chunks, 2, D]: of dy n and of dy over the rows of each chunk.
template <class T, class A = typename Accumulate<T>::Type>
__global__ void __launch_bounds__(column_threads* row_lanes)
    column_kernel(int64_t rows, int64_t width, const A* u, const A* mean, const A* rstd, const T* dy, A* sums) {
  __shared__ A shared[2][row_lanes][column_threads];
  const int64_t d = int64_t(blockIdx.x) * column_threads + threadIdx.x, chunk = blockIdx.y;
  const int64_t share = (rows + gridDim.y - 1) / gridDim.y, end = min((chunk + 1) * share, rows);
  A weight = 0, bias = 0;
  for (int64_t row = chunk * share + threadIdx.y; d < width && row < end; row += row_lanes) {
    const A g = widen(dy[row * width + d]);
    weight += g * (u[row * width + d] - (mean ? mean[row] : A(0))) * rstd[row];
    bias += g;
  }
  shared[0][threadIdx.y][threadIdx.x] = weight;
  shared[1][threadIdx.y][threadIdx.x] = bias;
  __syncthreads();
  if (threadIdx.y > 1 || d >= width) return;
  A sum = 0;
  for (int lane = 0; lane < row_lanes; ++lane) sum += shared[threadIdx.y][lane][threadIdx.x];
  sums[(chunk * 2 + threadIdx.y) * width + d] = sum;
}

template <class A>
__global__ void add_chunks(int64_t width, int64_t chunks, const A* sums, A* dweight, A* dbias) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= 2 * width) return;
  A* const out = i < width ? dweight : dbias;
  if (!out) return;
  A sum = 0;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) sum += sums[chunk * 2 * width + i];
  out[i % width] += sum;
}

template <class T, class A = typename Accumulate<T>::Type>
void forward_of(Launch launch, const NormShape& shape, const void* x, const void* f, const void* weight,
                const void* bias, void* u, void* y, void* mean, void* rstd) {
  launch_following<forward_kernel<T, A>>(dim3(unsigned(shape.rows)), row_threads, 0, stream_of(launch), "norm", shape.width,
                                         shape.epsilon, static_cast<const A*>(x), static_cast<const T*>(f),
                                         static_cast<const A*>(weight), static_cast<const A*>(bias), static_cast<A*>(u),
                                         static_cast<T*>(y), static_cast<A*>(mean), static_cast<A*>(rstd));
}

template <class T, class A = typename Accumulate<T>::Type>
void column_sums(cudaStream_t stream, const NormShape& shape, const A* u, const A* mean, const A* rstd, const T* dy,
                 A* dweight, A* dbias) {
  const int64_t chunks = shape.rows < most_chunks ? shape.rows : most_chunks, width = shape.width;
  const Scratch<A> sums(chunks * 2 * width, stream);
  const dim3 grid(unsigned((width + column_threads - 1) / column_threads), unsigned(chunks));
  column_kernel<T><<<grid, dim3(column_threads, row_lanes), 0, stream>>>(shape.rows, width, u, mean, rstd, dy,
                                                                         sums.get());
  add_chunks<A><<<unsigned((2 * width + 255) / 256), 256, 0, stream>>>(width, chunks, sums.get(), dweight, dbias);
}

template <class T, class A = typename Accumulate<T>::Type>
void backward_of(Launch launch, const NormShape& shape, const void* u_any, const void* weight, const void* mean_any,
                 const void* rstd_any, const void* dy_any, const void* du, void* dx, void* df, void* dweight,
                 void* dbias) {
  const auto *u = static_cast<const A*>(u_any), *mean = static_cast<const A*>(mean_any);
  const auto* rstd = static_cast<const A*>(rstd_any);
  const auto* dy = static_cast<const T*>(dy_any);
  const cudaStream_t stream = stream_of(launch);
  if (dweight || dbias) {  // first: dx may take the place of du, but never of u or dy
    column_sums<T>(stream, shape, u, mean, rstd, dy, static_cast<A*>(dweight), static_cast<A*>(dbias));
  }
  backward_kernel<T><<<unsigned(shape.rows), row_threads, 0, stream>>>(
      shape.width, u, static_cast<const A*>(weight), mean, rstd, dy, static_cast<const A*>(du), static_cast<A*>(dx),
      static_cast<T*>(df));
  check_cuda(cudaGetLastError(), "norm backward");
}

}  // namespace

void add_norm_cuda(Launch launch, NormShape shape, Element element, const void* x, const void* f, const void* weight,
                   const void* bias, void* u, void* y, void* mean, void* rstd) {
  switch (element) {
    case Element::float32: return forward_of<float>(launch, shape, x, f, weight, bias, u, y, mean, rstd);
    case Element::bfloat16: return forward_of<__nv_bfloat16>(launch, shape, x, f, weight, bias, u, y, mean, rstd);
    case Element::float64: return forward_of<double>(launch, shape, x, f, weight, bias, u, y, mean, rstd);
  }
}

void add_norm_backward_cuda(Launch launch, NormShape shape, Element element, const void* u, const void* weight,
                            const void* mean, const void* rstd, const void* dy, const void* du, void* dx, void* df,
                            void* dweight, void* dbias) {
  switch (element) {
    case Element::float32:
      return backward_of<float>(launch, shape, u, weight, mean, rstd, dy, du, dx, df, dweight, dbias);
    case Element::bfloat16:
      return backward_of<__nv_bfloat16>(launch, shape, u, weight, mean, rstd, dy, du, dx, df, dweight, dbias);
    case Element::float64:
      return backward_of<double>(launch, shape, u, weight, mean, rstd, dy, du, dx, df, dweight, dbias);
  }
}

}  // namespace braid::kernels
