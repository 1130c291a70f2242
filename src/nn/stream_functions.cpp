// SPDX-License-Identifier: Apache-2.0
#include "nn/stream_functions.h"

#include "kernels/stream_mix.h"
#include "nn/kernel_call.h"
#include "nn/precompiled.h"

namespace braid {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

kernels::StreamShape shape_of(const at::Tensor& X) {
  return {X.size(0) * X.size(1), X.size(2), X.size(3), false};
}

kernels::StreamShape by_token(const at::Tensor& X) {
  return {X.size(0) * X.size(1), X.size(2), X.size(3), true};
}

void keep(AutogradContext* ctx, const StreamHandle& handle) {
  ctx->saved_data["coefficients"] = reinterpret_cast<int64_t>(handle.coefficients);
  ctx->saved_data["gradients"] = reinterpret_cast<int64_t>(handle.gradients);
  ctx->saved_data["index"] = handle.index;
}

StreamHandle kept(AutogradContext* ctx) {
  return {reinterpret_cast<const StreamCoefficients*>(ctx->saved_data["coefficients"].toInt()),
          reinterpret_cast<StreamCoefficients*>(ctx->saved_data["gradients"].toInt()),
          ctx->saved_data["index"].toInt()};
}

const void* row(const at::Tensor& table, int64_t index) { return table.select(0, index).const_data_ptr(); }
void* mutable_row(at::Tensor& table, int64_t index) { return table.select(0, index).mutable_data_ptr(); }
const void* data_or_null(const at::Tensor& x) { return x.defined() ? x.const_data_ptr() : nullptr; }

struct ReadFunction : torch::autograd::Function<ReadFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& X, StreamHandle handle) {
    ctx->save_for_backward({X});
    keep(ctx, handle);
    at::Tensor m = at::empty({X.size(0), X.size(1), X.size(3)}, X.options());
    kernels::stream_read(launch_for(X), shape_of(X), element_of(X), X.const_data_ptr(),
                         row(handle.coefficients->read, handle.index), m.mutable_data_ptr());
    return m;
  }

  static variable_list backward(AutogradContext* ctx, variable_list outputs) {
    const StreamHandle handle = kept(ctx);
    const at::Tensor X = ctx->get_saved_variables()[0];
    const at::Tensor dm = outputs[0].contiguous();
    at::Tensor dX = at::empty_like(X);
    kernels::stream_read_backward(launch_for(X), shape_of(X), element_of(X), X.const_data_ptr(),
                                  row(handle.coefficients->read, handle.index), dm.const_data_ptr(),
                                  dX.mutable_data_ptr(), false, mutable_row(handle.gradients->read, handle.index));
    return {dX, at::Tensor()};
  }
};

struct WriteReadFunction : torch::autograd::Function<WriteReadFunction> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& X, const at::Tensor& f_any,
                               StreamHandle handle) {
    const at::Tensor f = f_any.contiguous();
    at::Tensor X_out = at::empty_like(X), m_next = at::empty_like(f);
    const StreamCoefficients& c = *handle.coefficients;
    kernels::stream_write_read(launch_for(X), shape_of(X), element_of(X), X.const_data_ptr(), row(c.mix, handle.index),
                               row(c.write, handle.index), f.const_data_ptr(), row(c.read, handle.index + 1),
                               X_out.mutable_data_ptr(), m_next.mutable_data_ptr());
    ctx->save_for_backward({X, f, X_out});
    ctx->set_materialize_grads(false);
    keep(ctx, handle);
    return {X_out, m_next};
  }

  static variable_list backward(AutogradContext* ctx, variable_list outputs) {
    const StreamHandle handle = kept(ctx);
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &X = saved[0], &f = saved[1], &X_out = saved[2];
    // After the last sublayer nobody reads the streams themselves: their gradient comes in undefined.
    const at::Tensor dX_out = outputs[0].defined() ? outputs[0].contiguous() : at::zeros_like(X);
    const at::Tensor dm_next = outputs[1].defined() ? outputs[1].contiguous() : at::Tensor();
    at::Tensor dX = at::empty_like(X), df = at::empty_like(f);
    const StreamCoefficients& c = *handle.coefficients;
    StreamCoefficients& g = *handle.gradients;
    kernels::stream_write_read_backward(
        launch_for(X), shape_of(X), element_of(X), X.const_data_ptr(), row(c.mix, handle.index),
        row(c.write, handle.index), f.const_data_ptr(), row(c.read, handle.index + 1), X_out.const_data_ptr(),
        dX_out.const_data_ptr(), data_or_null(dm_next), dX.mutable_data_ptr(), df.mutable_data_ptr(),
        mutable_row(g.mix, handle.index), mutable_row(g.write, handle.index), mutable_row(g.read, handle.index + 1));
    return {dX, df, at::Tensor()};
  }
};

struct TokenReadFunction : torch::autograd::Function<TokenReadFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& X, const at::Tensor& w_any) {
    const at::Tensor w = w_any.contiguous();
    ctx->save_for_backward({X, w});
    at::Tensor m = at::empty({X.size(0), X.size(1), X.size(3)}, X.options());
    kernels::stream_read(launch_for(X), by_token(X), element_of(X), X.const_data_ptr(), w.const_data_ptr(),
                         m.mutable_data_ptr());
    return m;
  }

  static variable_list backward(AutogradContext* ctx, variable_list outputs) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &X = saved[0], &w = saved[1];
    const at::Tensor dm = outputs[0].contiguous();
    at::Tensor dX = at::empty_like(X), dw = at::zeros_like(w);
    kernels::stream_read_backward(launch_for(X), by_token(X), element_of(X), X.const_data_ptr(), w.const_data_ptr(),
                                  dm.const_data_ptr(), dX.mutable_data_ptr(), false, dw.mutable_data_ptr());
    return {dX, dw};
  }
};

struct TokenWriteFunction : torch::autograd::Function<TokenWriteFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& X, const at::Tensor& H_any, const at::Tensor& c_any,
                            const at::Tensor& f_any) {
    const at::Tensor H = H_any.contiguous(), c = c_any.contiguous(), f = f_any.contiguous();
    ctx->save_for_backward({X, H, c, f});
    at::Tensor X_out = at::empty_like(X);
    kernels::stream_write_read(launch_for(X), by_token(X), element_of(X), X.const_data_ptr(), H.const_data_ptr(),
                               c.const_data_ptr(), f.const_data_ptr(), nullptr, X_out.mutable_data_ptr(), nullptr);
    return X_out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list outputs) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &X = saved[0], &H = saved[1], &c = saved[2], &f = saved[3];
    const at::Tensor dX_out = outputs[0].contiguous();
    at::Tensor dX = at::empty_like(X), df = at::empty_like(f), dH = at::zeros_like(H), dc = at::zeros_like(c);
    kernels::stream_write_read_backward(launch_for(X), by_token(X), element_of(X), X.const_data_ptr(),
                                        H.const_data_ptr(), c.const_data_ptr(), f.const_data_ptr(), nullptr, nullptr,
                                        dX_out.const_data_ptr(), nullptr, dX.mutable_data_ptr(), df.mutable_data_ptr(),
                                        dH.mutable_data_ptr(), dc.mutable_data_ptr(), nullptr);
    return {dX, dH, dc, df};
  }
};

}  // namespace

at::Tensor read_streams(const at::Tensor& X, const at::Tensor& w) { return TokenReadFunction::apply(X, w); }

at::Tensor write_streams(const at::Tensor& X, const at::Tensor& H, const at::Tensor& c, const at::Tensor& f) {
  return TokenWriteFunction::apply(X, H, c, f);
}

at::Tensor read_streams(const at::Tensor& X, StreamHandle handle) { return ReadFunction::apply(X, handle); }

std::pair<at::Tensor, at::Tensor> write_and_read_streams(const at::Tensor& X, const at::Tensor& f,
                                                         StreamHandle handle) {
  variable_list both = WriteReadFunction::apply(X, f, handle);
  return {both[0], both[1]};
}

}  // namespace braid
