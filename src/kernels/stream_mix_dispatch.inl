// SPDX-License-Identifier: Apache-2.0
// From void pointers, Element and the number of streams to the templates of stream_mix_cpu.inl, which includes this
// file.

// Calls act.template operator()<S, T>() for the shape and the element type.
template <class T, class Act>
void with_streams(int64_t streams, const Act& act) {
  switch (streams) {
    case 1: return act.template operator()<1, T>();
    case 2: return act.template operator()<2, T>();
    case 3: return act.template operator()<3, T>();
    case 4: return act.template operator()<4, T>();
    case 5: return act.template operator()<5, T>();
    case 6: return act.template operator()<6, T>();
    case 7: return act.template operator()<7, T>();
    default: return act.template operator()<8, T>();
  }
}

// float64, the reference in tests, is compiled at the lowest level alone: it would be a third of the build time.
template <class Act>
void with_types(StreamShape shape, Element element, const Act& act) {
  switch (element) {
    case Element::float32: return with_streams<float>(shape.streams, act);
    case Element::bfloat16: return with_streams<Bf16>(shape.streams, act);
    case Element::float64:
      if constexpr (vector_bytes == 16) with_streams<double>(shape.streams, act);
  }
}

template <class T>
using Coefficient = typename Lanes<T>::Scalar;

void read(StreamShape shape, Element element, const void* X, const void* w, void* m) {
  with_types(shape, element, [&]<int S, class T>() {
    read_all<S>(shape, static_cast<const T*>(X), static_cast<const Coefficient<T>*>(w), static_cast<T*>(m));
  });
}

void read_backward(StreamShape shape, Element element, const void* X, const void* w, const void* dm, void* dX,
                   bool accumulate, void* dw) {
  with_types(shape, element, [&]<int S, class T>() {
    read_all_backward<S>(shape, static_cast<const T*>(X), static_cast<const Coefficient<T>*>(w),
                         static_cast<const T*>(dm), static_cast<T*>(dX), accumulate, static_cast<Coefficient<T>*>(dw));
  });
}

template <class A>
CoefficientArrays<A> coefficients(const void* H, const void* c, const void* w_next) {
  return {static_cast<const A*>(H), static_cast<const A*>(c), static_cast<const A*>(w_next)};
}

void write_read(StreamShape shape, Element element, const void* X, const void* H, const void* c, const void* f,
                const void* w_next, void* X_out, void* m_next) {
  with_types(shape, element, [&]<int S, class T>() {
    write_all<S>(shape, static_cast<const T*>(X), coefficients<Coefficient<T>>(H, c, w_next), static_cast<const T*>(f),
                 static_cast<T*>(X_out), static_cast<T*>(m_next));
  });
}

void write_read_backward(StreamShape shape, Element element, const void* X, const void* H, const void* c, const void* f,
                         const void* w_next, const void* X_out, const void* dX_out, const void* dm_next, void* dX,
                         void* df, void* dH, void* dc, void* dw_next) {
  with_types(shape, element, [&]<int S, class T>() {
    using A = Coefficient<T>;
    // Without a read X' is not given: any array of its shape will do.
    const WriteBackward<T> p{static_cast<const T*>(X),
                             static_cast<const T*>(f),
                             static_cast<const T*>(dm_next ? X_out : X),
                             static_cast<const T*>(dX_out),
                             static_cast<const T*>(dm_next),
                             static_cast<T*>(dX),
                             static_cast<T*>(df)};
    write_all_backward<S>(shape, coefficients<A>(H, c, dm_next ? w_next : nullptr), p, static_cast<A*>(dH),
                          static_cast<A*>(dc), static_cast<A*>(dw_next));
  });
}
