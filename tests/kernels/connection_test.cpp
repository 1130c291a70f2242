// SPDX-License-Identifier: Apache-2.0
// The fused connections against their plain formulas in double, on the CPU (every instruction set) and on a device,
// each step from the kernel's own result of the one before, so that bounds stay tight; gradients against central
// differences too. Bounds are relative to the sum of absolute terms: 16 operations and one rounding to storage where a
// token's own few numbers are added up, 64 operations for sums over columns and tokens and for gates with their
// iterations.
#include "kernels/connection.h"

#include "connection_arrays.h"

namespace braid::kernels {
namespace {

using namespace test;

template <class E>
constexpr double few = E::storage + 16 * E::operation;
template <class E>
constexpr double many = 64 * E::operation;

template <class A>
Numbers numbers(const std::vector<A>& x) {
  return Numbers(x.begin(), x.end());
}

// Absolute, for coefficients between 0 and 2.
template <class E>
Numbers gate_bounds(const Numbers& like) {
  return Numbers(like.size(), many<E>);
}

template <class E>
void expect_forward(Arrays<E>& a, const ConnectionInputs& in) {
  a.forward();
  const Results X = written(in);
  expect_near(a.seen_streams(), values_of(X), bounds_of(X, few<E>), "X'");
  const Numbers X_seen = a.seen_streams(), rstd = rstd_of(in, X_seen);
  Numbers bound = rstd;
  for (double& x : bound) x *= many<E>;
  expect_near(a.rstd.values(), rstd, bound, "r");
  const Results y = projected(in, X_seen, rstd);
  expect_near(a.y.values(), values_of(y), bounds_of(y, many<E>), "y");
  const Coefficients c = coefficients_of(in, numbers(a.y.values()));
  expect_near(a.read.values(), c.read, gate_bounds<E>(c.read), "w");
  expect_near(a.write.values(), c.write, gate_bounds<E>(c.write), "c'");
  expect_near(a.mix.values(), c.mix, gate_bounds<E>(c.mix), "H'");
  const Results m = read_of(in.shape, X_seen, numbers(a.read.values()));
  expect_near(seen<E>(a.m.values()), values_of(m), bounds_of(m, few<E>), "m'");
}

template <class A>
Numbers without_start(const std::vector<A>& sums) {
  Numbers out(sums.begin(), sums.end());
  for (double& x : out) x -= Arrays<Float64>::already_there;
  return out;
}

template <class E, class A>
void expect_sum(const std::vector<A>& got, const Results& expected, const char* what) {
  Numbers bound = bounds_of(expected, 2 * many<E>);
  for (double& x : bound) x += 4 * Arrays<E>::already_there * E::operation;
  expect_near(without_start(got), values_of(expected), bound, what);
}

// Through a gate, its iterations, and a sum over columns or tokens: twice as many operations, and storage.
template <class E>
void expect_backward(Arrays<E>& a, const ConnectionInputs& in) {
  a.backward();
  const ConnectionGradients g =
      connection_gradients(in, a.seen_streams(), numbers(a.y.values()), numbers(a.rstd.values()));
  const double stored = E::storage + 2 * many<E>, summed = 2 * many<E>;
  expect_near(seen<E>(a.dX.values()), values_of(g.X), bounds_of(g.X, stored), "dX");
  if (in.writes) {
    expect_near(seen<E>(a.df.values()), values_of(g.f), bounds_of(g.f, stored), "df");
    expect_near(a.dc.values(), values_of(g.write), bounds_of(g.write, summed), "dc");
    expect_near(a.dH.values(), values_of(g.mix), bounds_of(g.mix, summed), "dH");
  }
  expect_sum<E>(a.dP.values(), g.projection, "dP");
  expect_sum<E>(a.dscale.values(), g.scale, "dscale");
  expect_sum<E>(a.dbias.values(), g.bias, "dbias");
}

template <class E>
void expect_the_formulas(Place place, const ConnectionShape& shape, bool writes) {
  SCOPED_TRACE(str("M ", shape.tokens, " S ", shape.streams, " D ", shape.width, " mixing ", int(shape.mixing),
                   " writes ", writes));
  Random random;
  const ConnectionInputs in = random_connection<E>(shape, writes, random);
  Arrays<E> a(place, in);
  expect_forward(a, in);
  if (!::testing::Test::HasFatalFailure()) expect_backward(a, in);
}

// Widths beside the vectors' sizes (16 floats, 8, 4, 2) and the CPU's chunks (128 columns), tokens beside its tiles
// (64, 32, 16) and vectors. On devices widths of whole chunks of 16 have kernels of their own, whose blocks take 64
// tokens and whose ranges 256.
std::vector<ConnectionShape> shapes() {
  std::vector<ConnectionShape> all;
  for (const int64_t streams : {2, 4, 8}) {
    for (const Mixing mixing : {Mixing::sinkhorn, Mixing::permutations, Mixing::unconstrained}) {
      if (!has_connection_kernel(mixing, streams)) continue;
      all.push_back({1, streams, 1, mixing});
      all.push_back({3, streams, 37, mixing, 7});
      all.push_back({70, streams, 16, mixing});
      all.push_back({19, streams, 129, mixing, 1});
    }
  }
  all.push_back({33, 4, 270});
  all.push_back({9, 4, 1024});
  all.push_back({3, 2, 1031});
  all.push_back({133, 4, 272});
  all.push_back({600, 2, 48});
  all.push_back({70, 4, 272, Mixing::unconstrained});  // one stream's columns are not whole blocks of 32
  all.push_back({150, 2, 64, Mixing::unconstrained});
  return all;
}

template <class E>
void expect_all(Place place) {
  for (const ConnectionShape& shape : shapes()) {
    for (const bool writes : {true, false}) ASSERT_NO_FATAL_FAILURE(expect_the_formulas<E>(place, shape, writes));
  }
}

TEST(Connection, FollowsTheFormulasInFloat32AtEveryInstructionSet) {
  at_every_level([] { expect_all<Float32>(Place::cpu); });
}
TEST(Connection, FollowsTheFormulasInBFloat16AtEveryInstructionSet) {
  at_every_level([] { expect_all<BFloat16>(Place::cpu); });
}
TEST(Connection, FollowsTheFormulasInFloat64) { expect_all<Float64>(Place::cpu); }

TEST(ConnectionGpu, FollowsTheFormulasInFloat32) {
  REQUIRE_DEVICE();
  expect_all<Float32>(Place::cuda);
}
TEST(ConnectionGpu, FollowsTheFormulasInBFloat16) {
  REQUIRE_DEVICE();
  expect_all<BFloat16>(Place::cuda);
}
TEST(ConnectionGpu, FollowsTheFormulasInFloat64) {
  REQUIRE_DEVICE();
  expect_all<Float64>(Place::cuda);
}

// The outputs' products with their gradients, by the kernel in float64.
double objective(Place place, const ConnectionInputs& in) {
  Arrays<Float64> a(place, in);
  a.forward();
  double sum = 0;
  const auto add = [&](const Numbers& output, const Numbers& gradient) {
    for (size_t i = 0; i < output.size(); ++i) sum += output[i] * gradient[i];
  };
  add(a.seen_streams(), in.dX);
  add(a.m.values(), in.dm);
  add(a.write.values(), in.dc);
  add(a.mix.values(), in.dH);
  return sum;
}

void expect_central_differences(Place place, const ConnectionShape& shape, bool writes) {
  Random random;
  ConnectionInputs in = random_connection<Float64>(shape, writes, random);
  Arrays<Float64> a(place, in);
  a.forward();
  a.backward();
  const auto check = [&](Numbers& input, const Numbers& gradient, const std::string& name) {
    for (size_t i = 0; i < input.size(); ++i) {
      const double kept = input[i], step = 1e-5;
      input[i] = kept + step;
      const double above = objective(place, in);
      input[i] = kept - step;
      const double slope = (above - objective(place, in)) / (2 * step);
      input[i] = kept;
      ASSERT_NEAR(slope, gradient[i], 1e-7 * (1 + std::abs(gradient[i]))) << name << "[" << i << "]";
    }
  };
  check(in.X, a.dX.values(), "X");
  if (writes) {
    check(in.f, a.df.values(), "f");
    check(in.c, a.dc.values(), "c");
    check(in.H, a.dH.values(), "H");
  }
  check(in.P, without_start(a.dP.values()), "P");
  check(in.scale, without_start(a.dscale.values()), "scale");
  check(in.bias, without_start(a.dbias.values()), "bias");
}

void expect_all_central_differences(Place place) {
  for (const Mixing mixing : {Mixing::sinkhorn, Mixing::permutations, Mixing::unconstrained}) {
    for (const bool writes : {true, false}) {
      ASSERT_NO_FATAL_FAILURE(expect_central_differences(place, {3, 4, 5, mixing, 4}, writes));
    }
  }
}

TEST(Connection, GradientsAreCentralDifferences) { expect_all_central_differences(Place::cpu); }
TEST(ConnectionGpu, GradientsAreCentralDifferences) {
  REQUIRE_DEVICE();
  expect_all_central_differences(Place::cuda);
}

// All that forward and backward give, in one vector.
std::vector<float> everything(Place place, const ConnectionInputs& in) {
  Arrays<Float32> a(place, in);
  a.forward();
  a.backward();
  std::vector<float> all;
  for (auto* part : {&a.X_out, &a.m, &a.y, &a.rstd, &a.read, &a.write, &a.mix, &a.dX, &a.df, &a.dc, &a.dH, &a.dP,
                     &a.dscale, &a.dbias}) {
    all.insert(all.end(), part->values().begin(), part->values().end());
  }
  return all;
}

TEST(Connection, GivesTheSameBitsForEveryNumberOfThreads) {
  Random random;
  const ConnectionInputs in = random_connection<Float32>({203, 4, 300}, true, random);
  at_every_level([&] {
    std::vector<float> of_one;
    with_threads(1, [&] { of_one = everything(Place::cpu, in); });
    for (const int threads : {2, 3}) {
      with_threads(threads, [&] { EXPECT_EQ(everything(Place::cpu, in), of_one) << threads << " threads"; });
    }
  });
}

TEST(ConnectionGpu, GivesTheSameBitsFromRunToRun) {
  REQUIRE_DEVICE();
  Random random;
  for (const int64_t width : {300, 304}) {
    const ConnectionInputs in = random_connection<Float32>({1003, 4, width}, true, random);
    const std::vector<float> first = everything(Place::cuda, in);
    for (int i = 0; i < 5; ++i) EXPECT_EQ(everything(Place::cuda, in), first);
  }
}

Numbers rows(const Numbers& all, int64_t first, int64_t count, int64_t row) {
  return Numbers(all.begin() + first * row, all.begin() + (first + count) * row);
}

ConnectionInputs some_tokens(const ConnectionInputs& in, int64_t first, int64_t count) {
  const int64_t S = in.shape.streams, D = in.shape.width;
  ConnectionInputs out = in;
  out.shape.tokens = count;
  out.X = rows(in.X, first, count, S * D);
  out.f = rows(in.f, first, count, D);
  out.c = rows(in.c, first, count, S);
  out.H = rows(in.H, first, count, S * S);
  return out;
}

void expect_tokens_alone(Place place, int64_t width) {
  Random random;
  const ConnectionInputs in = random_connection<Float32>({50, 4, width}, true, random);
  Arrays<Float32> all(place, in);
  all.forward();
  for (const auto [first, count] : {std::pair{0, 1}, {7, 1}, {13, 20}, {49, 1}}) {
    Arrays<Float32> some(place, some_tokens(in, first, count));
    some.forward();
    EXPECT_EQ(numbers(some.X_out.values()), rows(numbers(all.X_out.values()), first, count, 4 * width));
    EXPECT_EQ(numbers(some.m.values()), rows(numbers(all.m.values()), first, count, width));
    EXPECT_EQ(numbers(some.mix.values()), rows(numbers(all.mix.values()), first, count, 16));
  }
}

TEST(Connection, GivesATokenTheSameBitsWhateverTokensAreBesideIt) {
  at_every_level([] { expect_tokens_alone(Place::cpu, 300); });
}
TEST(ConnectionGpu, GivesATokenTheSameBitsWhateverTokensAreBesideIt) {
  REQUIRE_DEVICE();
  for (const int64_t width : {300, 304}) expect_tokens_alone(Place::cuda, width);
}

void expect_frozen_weights_to_change_nothing_else(Place place) {
  Random random;
  const ConnectionInputs in = random_connection<Float32>({20, 4, 33}, true, random);
  Arrays<Float32> trained(place, in), frozen(place, in);
  trained.forward();
  trained.backward();
  frozen.forward();
  frozen.backward(false);
  EXPECT_EQ(frozen.dX.values(), trained.dX.values());
  EXPECT_EQ(frozen.dP.values(), std::vector<float>(in.P.size(), 3.0f));
  EXPECT_EQ(frozen.dbias.values(), std::vector<float>(in.bias.size(), 3.0f));
}

TEST(Connection, LeavesFrozenWeightsGradientsAlone) { expect_frozen_weights_to_change_nothing_else(Place::cpu); }
TEST(ConnectionGpu, LeavesFrozenWeightsGradientsAlone) {
  REQUIRE_DEVICE();
  expect_frozen_weights_to_change_nothing_else(Place::cuda);
}

// What is added to the logits of a column, or to all of a softmax, changes nothing, also where exp would overflow.
void expect_shifts_to_change_nothing(Place place) {
  Random random;
  for (const Mixing mixing : {Mixing::sinkhorn, Mixing::permutations}) {
    ConnectionInputs in = random_connection<Float32>({20, 4, 33, mixing}, true, random);
    Arrays<Float32> plain(place, in);
    plain.forward();
    for (size_t k = 8; k < in.bias.size(); ++k) in.bias[k] += mixing == Mixing::sinkhorn ? 128.0 * (1 + k % 4) : 512.0;
    for (const float x : everything(place, in)) ASSERT_TRUE(std::isfinite(x));
    Arrays<Float32> shifted(place, in);
    shifted.forward();
    const Numbers H = numbers(plain.mix.values());
    expect_near(shifted.mix.values(), H, Numbers(H.size(), 2 * 512 * Float32::operation), "H' of shifted logits");
  }
}

TEST(Connection, IsTheSameWhereExpOfTheLogitsWouldOverflow) {
  at_every_level([] { expect_shifts_to_change_nothing(Place::cpu); });
}
TEST(ConnectionGpu, IsTheSameWhereExpOfTheLogitsWouldOverflow) {
  REQUIRE_DEVICE();
  expect_shifts_to_change_nothing(Place::cuda);
}

TEST(Connection, RefusesStreamsThatItHasNoKernelFor) {
  EXPECT_THROW(connection({}, {1, 3, 1}, Element::float32, {}, {}, {}, nullptr), Error);
  EXPECT_THROW(connection({}, {1, 8, 1, Mixing::permutations}, Element::float32, {}, {}, {}, nullptr), Error);
}

#if !BRAID_CUDA
TEST(Connection, SaysThatItWasBuiltWithoutCuda) {
  EXPECT_THROW(connection({Place::cuda}, {1, 4, 1}, Element::float32, {}, {}, {}, nullptr), Error);
}
#endif

}  // namespace
}  // namespace braid::kernels
