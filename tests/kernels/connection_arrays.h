// SPDX-License-Identifier: Apache-2.0
// What a fused connection reads and writes, where it runs.
#pragma once

#include "connection_reference.h"
#include "device_memory.h"

namespace braid::kernels::test {

// Gradients that are added to begin with what is already there.
template <class E>
struct Arrays {
  using A = typename E::Coefficient;
  using T = typename E::Stored;
  static constexpr double already_there = 3.0;

  Place place;
  ConnectionShape shape;
  bool writes;
  Placed<T> X, f, X_out, m, dX_out, dm, dX, df;
  Placed<A> c, H, P, scale, bias, y, rstd, read, write, mix, dwrite, dmix, dc, dH, dP, dscale, dbias;
  Placed<uint8_t> scratch;

  Arrays(Place where, const ConnectionInputs& in)
      : place(where),
        shape(in.shape),
        writes(in.writes),
        X(place, stored<E>(in.X)),
        f(place, stored<E>(in.f)),
        X_out(place, std::vector<T>(in.X.size())),
        m(place, std::vector<T>(in.f.size())),
        dX_out(place, stored<E>(in.dX)),
        dm(place, stored<E>(in.dm)),
        dX(place, std::vector<T>(in.X.size())),
        df(place, std::vector<T>(in.f.size())),
        c(place, as<A>(in.c)),
        H(place, as<A>(in.H)),
        P(place, as<A>(in.P)),
        scale(place, as<A>(in.scale)),
        bias(place, as<A>(in.bias)),
        y(place, std::vector<A>(size_t(shape.tokens * in.K()))),
        rstd(place, std::vector<A>(size_t(shape.tokens * in.norms()))),
        read(place, std::vector<A>(in.c.size())),
        write(place, std::vector<A>(in.c.size())),
        mix(place, std::vector<A>(in.H.size())),
        dwrite(place, as<A>(in.dc)),
        dmix(place, as<A>(in.dH)),
        dc(place, std::vector<A>(in.c.size())),
        dH(place, std::vector<A>(in.H.size())),
        dP(place, std::vector<A>(in.P.size(), A(already_there))),
        dscale(place, std::vector<A>(in.scale.size(), A(already_there))),
        dbias(place, std::vector<A>(in.bias.size(), A(already_there))),
        scratch(place, std::vector<uint8_t>(size_t(connection_scratch_bytes({where}, shape, E::element)))) {}

  ConnectionWrite input() { return {X.data(), writes ? f.data() : nullptr, c.data(), H.data()}; }
  void* streams() { return writes ? X_out.data() : X.data(); }

  void forward() {
    connection(
        {place}, shape, E::element, input(), {P.data(), scale.data(), bias.data()},
        {writes ? X_out.data() : nullptr, y.data(), rstd.data(), read.data(), write.data(), mix.data(), m.data()},
        scratch.data());
  }
  void backward(bool of_weights = true) {
    connection_backward(
        {place}, shape, E::element, input(), {P.data(), scale.data(), bias.data()},
        {streams(), y.data(), rstd.data(), read.data(), write.data(), mix.data()},
        {dX_out.data(), dwrite.data(), dmix.data(), dm.data()},
        {dX.data(), df.data(), dc.data(), dH.data(), of_weights ? dP.data() : nullptr, dscale.data(), dbias.data()},
        scratch.data());
  }
  Numbers seen_streams() { return seen<E>(writes ? X_out.values() : X.values()); }
};

}  // namespace braid::kernels::test
