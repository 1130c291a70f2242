// SPDX-License-Identifier: Apache-2.0
// Reads and writes of the residual streams against the plain formulas in double, on the CPU (every instruction set) and
// on a device; gradients against central differences too. Error bounds, relative to the sum of absolute terms: outputs
// 16 operations and one rounding to storage; coefficient gradients 64 operations (they are summed in fp32 over at most
// a few hundred columns before double takes over, and rounding errors mostly cancel).
#include "kernels/stream_mix.h"

#include "stream_reference.h"

namespace braid::kernels {
namespace {

using namespace test;

template <class E>
constexpr double output_error = E::storage + 16 * E::operation;
template <class E>
constexpr double sum_error = 64 * E::operation;

// Gradients of coefficients are added to what is there.
constexpr double already_there = 3.0;

template <class A>
Numbers without_start(const std::vector<A>& sums) {
  Numbers out(sums.begin(), sums.end());
  for (double& x : out) x -= already_there;
  return out;
}
template <class E>
Numbers sum_bound(const Sum& sum) {
  Numbers bound = sum.bound(sum_error<E>);
  for (size_t i = 0; i < bound.size(); ++i) bound[i] += (already_there + sum.magnitude[i]) * E::operation;
  return bound;
}

template <class E>
void expect_write_read(Place place, StreamShape shape, bool in_place, bool with_read) {
  using A = typename E::Coefficient;
  Random random;
  const StreamInputs in = random_inputs<E>(shape, random);
  const WriteReadResult expected = write_read_reference(in);
  Placed X(place, stored<E>(in.X)), f(place, stored<E>(in.f)), X_out(place, stored<E>(in.dX_out)),
      m(place, stored<E>(in.dm));
  Placed H(place, as<A>(in.H)), c(place, as<A>(in.c)), w(place, as<A>(in.w));
  auto& to = in_place ? X : X_out;
  stream_write_read({place}, shape, E::element, X.data(), H.data(), c.data(), f.data(), with_read ? w.data() : nullptr,
                    to.data(), with_read ? m.data() : nullptr);
  expect_near(seen<E>(to.values()), expected.X_out.value, expected.X_out.bound(output_error<E>), "X'");
  if (with_read) expect_near(seen<E>(m.values()), expected.m.value, expected.m.bound(output_error<E>), "m'");
}

template <class E>
void expect_write_read_backward(Place place, StreamShape shape, bool in_place, bool with_read) {
  using A = typename E::Coefficient;
  Random random;
  const StreamInputs in = random_inputs<E>(shape, random);
  const Numbers X_new = rounded<E>(write_read_reference(in).X_out.value);
  const WriteReadGradients expected = write_read_gradients(in, X_new, with_read);
  Placed X(place, stored<E>(in.X)), f(place, stored<E>(in.f)), X_out(place, stored<E>(X_new));
  Placed dX_out(place, stored<E>(in.dX_out)), dX_apart(place, stored<E>(in.X)), df(place, stored<E>(in.f));
  Placed dm(place, stored<E>(in.dm)), H(place, as<A>(in.H)), c(place, as<A>(in.c)), w(place, as<A>(in.w));
  const auto start = [&](const Numbers& like) { return std::vector<A>(like.size(), A(already_there)); };
  Placed dH(place, start(in.H)), dc(place, start(in.c)), dw(place, start(in.w));
  auto& dX = in_place ? dX_out : dX_apart;
  stream_write_read_backward({place}, shape, E::element, X.data(), H.data(), c.data(), f.data(),
                             with_read ? w.data() : nullptr, with_read ? X_out.data() : nullptr, dX_out.data(),
                             with_read ? dm.data() : nullptr, dX.data(), df.data(), dH.data(), dc.data(), dw.data());
  expect_near(seen<E>(dX.values()), expected.X.value, expected.X.bound(output_error<E>), "dX");
  expect_near(seen<E>(df.values()), expected.f.value, expected.f.bound(output_error<E>), "df");
  expect_near(without_start(dH.values()), expected.H.value, sum_bound<E>(expected.H), "dH");
  expect_near(without_start(dc.values()), expected.c.value, sum_bound<E>(expected.c), "dc");
  expect_near(without_start(dw.values()), expected.w.value, sum_bound<E>(expected.w), "dw'");
}

template <class E>
void expect_read(Place place, StreamShape shape, bool accumulate) {
  using A = typename E::Coefficient;
  Random random;
  const StreamInputs in = random_inputs<E>(shape, random);
  Placed X(place, stored<E>(in.X)), m(place, stored<E>(in.f)), dm(place, stored<E>(in.dm)),
      dX(place, stored<E>(in.dX_out));
  Placed w(place, as<A>(in.w)), dw(place, std::vector<A>(in.w.size(), A(already_there)));
  stream_read({place}, shape, E::element, X.data(), w.data(), m.data());
  const Sum expected = read_reference(in);
  expect_near(seen<E>(m.values()), expected.value, expected.bound(output_error<E>), "m");

  stream_read_backward({place}, shape, E::element, X.data(), w.data(), dm.data(), dX.data(), accumulate, dw.data());
  const test::ReadGradients gradients = read_gradients(in, accumulate ? in.dX_out : Numbers());
  expect_near(seen<E>(dX.values()), gradients.X.value, gradients.X.bound(output_error<E>), "dX");
  expect_near(without_start(dw.values()), gradients.w.value, sum_bound<E>(gradients.w), "dw");

  stream_read_backward({place}, shape, E::element, X.data(), w.data(), dm.data(), nullptr, false, dw.data());
  stream_read_backward({place}, shape, E::element, X.data(), w.data(), dm.data(), dX.data(), false, nullptr);
  const test::ReadGradients alone = read_gradients(in, {});
  expect_near(seen<E>(dX.values()), alone.X.value, alone.X.bound(output_error<E>), "dX alone");
  Numbers twice = alone.w.value;
  for (double& x : twice) x *= 2;
  Numbers bound = sum_bound<E>(alone.w);
  for (double& x : bound) x *= 4;
  expect_near(without_start(dw.values()), twice, bound, "dw a second time");
}

// Widths beside the vectors' sizes (16 floats, 8, 4, 2), token counts beside the blocks' (64, and 8 within).
std::vector<StreamShape> shapes(bool per_token) {
  std::vector<StreamShape> all;
  for (const int64_t streams : {1, 2, 3, 4, 5, 6, 7, 8}) {
    all.push_back({1, streams, 1, per_token});
    all.push_back({3, streams, 37, per_token});
    all.push_back({70, streams, 16, per_token});
  }
  all.push_back({301, 4, 72, per_token});
  all.push_back({1300, 4, 8, per_token});
  all.push_back({9, 4, 1024, per_token});
  all.push_back({5, 2, 1023, per_token});
  return all;
}

template <class E>
void expect_all(Place place) {
  for (const bool per_token : {false, true}) {
    for (const StreamShape& shape : shapes(per_token)) {
      SCOPED_TRACE(str("M ", shape.tokens, " S ", shape.streams, " D ", shape.width, " per token ", per_token));
      for (const bool flag : {false, true}) {
        ASSERT_NO_FATAL_FAILURE(expect_read<E>(place, shape, flag));
        ASSERT_NO_FATAL_FAILURE(expect_write_read<E>(place, shape, flag, true));
        ASSERT_NO_FATAL_FAILURE(expect_write_read<E>(place, shape, !flag, false));
        ASSERT_NO_FATAL_FAILURE(expect_write_read_backward<E>(place, shape, flag, true));
        ASSERT_NO_FATAL_FAILURE(expect_write_read_backward<E>(place, shape, !flag, false));
      }
    }
  }
}

TEST(StreamMix, FollowsTheFormulasInFloat32AtEveryInstructionSet) {
  at_every_level([] { expect_all<Float32>(Place::cpu); });
}
TEST(StreamMix, FollowsTheFormulasInBFloat16AtEveryInstructionSet) {
  at_every_level([] { expect_all<BFloat16>(Place::cpu); });
}
TEST(StreamMix, FollowsTheFormulasInFloat64) { expect_all<Float64>(Place::cpu); }

TEST(StreamMixGpu, FollowsTheFormulasInFloat32) {
  REQUIRE_DEVICE();
  expect_all<Float32>(Place::cuda);
}
TEST(StreamMixGpu, FollowsTheFormulasInBFloat16) {
  REQUIRE_DEVICE();
  expect_all<BFloat16>(Place::cuda);
}
TEST(StreamMixGpu, FollowsTheFormulasInFloat64) {
  REQUIRE_DEVICE();
  expect_all<Float64>(Place::cuda);
}

// <dX_out, X'> + <dm, m'> by the kernel in float64.
double objective(Place place, const StreamInputs& in) {
  Placed X(place, in.X), f(place, in.f), H(place, in.H), c(place, in.c), w(place, in.w), X_out(place, in.X),
      m(place, in.f);
  stream_write_read({place}, in.shape, Element::float64, X.data(), H.data(), c.data(), f.data(), w.data(), X_out.data(),
                    m.data());
  double sum = 0;
  for (size_t i = 0; i < in.X.size(); ++i) sum += in.dX_out[i] * X_out.values()[i];
  for (size_t i = 0; i < in.f.size(); ++i) sum += in.dm[i] * m.values()[i];
  return sum;
}

// The objective is linear in each single number, so that a central difference is exact but for rounding.
void expect_central_differences(Place place, bool per_token) {
  Random random;
  StreamInputs in = random_inputs<Float64>({6, 4, 5, per_token}, random);
  Placed X(place, in.X), f(place, in.f), H(place, in.H), c(place, in.c), w(place, in.w), X_out(place, in.X),
      m(place, in.f);
  Placed dX_out(place, in.dX_out), dm(place, in.dm), dX(place, in.X), df(place, in.f);
  Placed dH(place, Numbers(in.H.size())), dc(place, Numbers(in.c.size())), dw(place, Numbers(in.w.size()));
  stream_write_read({place}, in.shape, Element::float64, X.data(), H.data(), c.data(), f.data(), w.data(), X_out.data(),
                    m.data());
  stream_write_read_backward({place}, in.shape, Element::float64, X.data(), H.data(), c.data(), f.data(), w.data(),
                             X_out.data(), dX_out.data(), dm.data(), dX.data(), df.data(), dH.data(), dc.data(),
                             dw.data());
  const auto check = [&](Numbers& input, const Numbers& gradient, const std::string& name) {
    for (size_t i = 0; i < input.size(); ++i) {
      const double kept = input[i];
      input[i] = kept + 0.5;
      const double above = objective(place, in);
      input[i] = kept - 0.5;
      const double difference = above - objective(place, in);
      input[i] = kept;
      ASSERT_NEAR(difference, gradient[i], 1e-10) << name << "[" << i << "]";
    }
  };
  check(in.X, dX.values(), "X");
  check(in.f, df.values(), "f");
  check(in.H, dH.values(), "H");
  check(in.c, dc.values(), "c");
  check(in.w, dw.values(), "w'");
}

TEST(StreamMix, GradientsAreCentralDifferences) {
  for (const bool per_token : {false, true}) expect_central_differences(Place::cpu, per_token);
}
TEST(StreamMixGpu, GradientsAreCentralDifferences) {
  REQUIRE_DEVICE();
  for (const bool per_token : {false, true}) expect_central_differences(Place::cuda, per_token);
}

// All coefficient gradients of one backward, dH, dc, dw', dw of a read, in one vector.
std::vector<float> coefficient_gradients(Place place, const StreamInputs& in) {
  using A = float;
  Placed X(place, stored<Float32>(in.X)), f(place, stored<Float32>(in.f)), dX_out(place, stored<Float32>(in.dX_out));
  Placed dm(place, stored<Float32>(in.dm)), H(place, as<A>(in.H)), c(place, as<A>(in.c)), w(place, as<A>(in.w));
  Placed dX(place, stored<Float32>(in.X)), df(place, stored<Float32>(in.f));
  const size_t n = size_t(in.shape.streams);
  Placed gradients(place, std::vector<A>(n * n + 3 * n));
  A* const g = gradients.data();
  stream_write_read_backward({place}, in.shape, Element::float32, X.data(), H.data(), c.data(), f.data(), w.data(),
                             X.data(), dX_out.data(), dm.data(), dX.data(), df.data(), g, g + n * n, g + n * n + n);
  stream_read_backward({place}, in.shape, Element::float32, X.data(), w.data(), dm.data(), nullptr, false,
                       g + n * n + 2 * n);
  return gradients.values();
}

TEST(StreamMix, CoefficientGradientsAreTheSameBitsForEveryNumberOfThreads) {
  Random random;
  const StreamInputs in = random_inputs<Float32>({1003, 4, 40}, random);
  at_every_level([&] {
    std::vector<float> of_one;
    with_threads(1, [&] { of_one = coefficient_gradients(Place::cpu, in); });
    for (const int threads : {2, 3, 4}) {
      with_threads(threads, [&] { EXPECT_EQ(coefficient_gradients(Place::cpu, in), of_one) << threads << " threads"; });
    }
  });
}

TEST(StreamMixGpu, CoefficientGradientsAreTheSameBitsFromRunToRun) {
  REQUIRE_DEVICE();
  Random random;
  const StreamInputs in = random_inputs<Float32>({5003, 4, 40}, random);
  const std::vector<float> first = coefficient_gradients(Place::cuda, in);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(coefficient_gradients(Place::cuda, in), first);
}

// One stream, read with weight w: m = w x, which shows how a product is rounded to storage.
void expect_bf16_rounding(Place place) {
  const float inf = INFINITY;
  const std::vector<std::pair<float, uint16_t>> cases = {
      {1.00390625f, 0x3f80}, {1.01171875f, 0x3f82}, {1.00390637f, 0x3f81}, {-1.00390625f, 0xbf80}, {3.4e38f, 0x7f80},
      {inf, 0x7f80},         {-inf, 0xff80},        {0.0f, 0x0000},        {1e-40f, 0x0001}};
  for (const auto& [value, bits] : cases) {
    Placed X(place, std::vector<uint16_t>(33, 0x3f80)), m(place, std::vector<uint16_t>(33));
    Placed w(place, std::vector<float>{value});
    stream_read({place}, {1, 1, 33}, Element::bfloat16, X.data(), w.data(), m.data());
    EXPECT_EQ(m.values(), std::vector<uint16_t>(33, bits)) << value;
  }
  for (const uint32_t payload : {0x7fc00000u, 0x7f800001u, 0x7fffffffu, 0xffffffffu}) {
    Placed X(place, std::vector<uint16_t>(33, 0x3f80)), m(place, std::vector<uint16_t>(33));
    Placed w(place, std::vector<float>{std::bit_cast<float>(payload)});
    stream_read({place}, {1, 1, 33}, Element::bfloat16, X.data(), w.data(), m.data());
    for (const uint16_t bits : m.values()) EXPECT_TRUE(std::isnan(from_bf16(bits))) << payload;
  }
}

TEST(StreamMix, RoundsToNearestEvenBFloat16AndKeepsNaN) {
  at_every_level([] { expect_bf16_rounding(Place::cpu); });
}
TEST(StreamMixGpu, RoundsToNearestEvenBFloat16AndKeepsNaN) {
  REQUIRE_DEVICE();
  expect_bf16_rounding(Place::cuda);
}

TEST(StreamMix, RefusesMoreStreamsThanEight) {
  float x = 0;
  EXPECT_THROW(stream_read({}, {1, 9, 1}, Element::float32, &x, &x, &x), Error);
  EXPECT_THROW(stream_read({}, {1, 0, 1}, Element::float32, &x, &x, &x), Error);
}

#if !BRAID_CUDA
TEST(StreamMix, SaysThatItWasBuiltWithoutCuda) {
  float x = 0;
  EXPECT_THROW(stream_read({Place::cuda}, {1, 1, 1}, Element::float32, &x, &x, &x), Error);
}
#endif

}  // namespace
}  // namespace braid::kernels
