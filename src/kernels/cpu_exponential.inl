// SPDX-License-Identifier: Apache-2.0
// exp for arguments that a softmax has (x <= 0, -infinity, NaN), a whole vector at a time and without -ffast-math.
// Included after cpu_lanes.inl.

// x = n ln2 + r with |r| <= ln2 / 2; e^r = 1 + r + r^2 q(r), where q is the minimax polynomial of degree 4 (found by
// Lawson's iteration; its relative error in e^r is 3.8e-9). With rounding the error is at most 1 ulp, denormal results
// included; NaN stays NaN and -infinity gives 0.
BRAID_INLINE FloatLanes exponential(FloatLanes x) {
  const FloatLanes lowest = FloatLanes{} - 104.0f;  // e^-104 rounds to 0; NaN is not below it
  const FloatLanes y = x < lowest ? lowest : x;
  const float shift = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, held in the low bits
  const FloatLanes shifted = y * 1.44269504088896341f + shift;
  const FloatLanes n = shifted - shift;
  const FloatLanes r = (y - n * 0.693359375f) + n * 2.12194440e-4f;  // ln2 in two parts, the first exact times n
  FloatLanes q = r * 1.3814613e-3f + 8.36871e-3f;
  q = q * r + 4.166839e-2f;
  q = q * r + 1.6666521e-1f;
  q = q * r + 4.9999994e-1f;
  const FloatLanes p = (q * r) * r + r + 1.0f;
  // 2^n in two normal factors, since 2^n itself may be too small for one: n + 254 is at least 103.
  const WordLanes biased = (WordLanes)shifted - 0x4B400000u + 254u;
  const WordLanes half = biased >> 1;
  return p * (FloatLanes)(half << 23) * (FloatLanes)((biased - half) << 23);
}

// float64 is the reference in tests: no hurry.
BRAID_INLINE DoubleLanes exponential(DoubleLanes x) {
  for (int64_t i = 0; i < Lanes<double>::count; ++i) x[i] = __builtin_exp(x[i]);
  return x;
}
