// SPDX-License-Identifier: Apache-2.0
// The metrics of depth against closed forms: the public program's connections at their start, and what plain residual
// models and broken numbers look like.
#include "experiments/depth_metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "experiments/gain.h"
#include "nn/initialise.h"
#include "nn/precompiled.h"

namespace braid {
namespace {

ModelConfig small(const std::string& residual, int64_t layers) {
  ModelConfig config;
  config.residual = residual;
  config.layers = layers;
  config.width = 16;
  config.heads = 2;
  config.mlp_width = 32;
  config.vocabulary = 16;
  config.context = 8;
  return config;
}

using Layers = std::map<std::string, std::vector<double>>;

// One step of the model at its start: /layers, and the columns of /train.
struct Measured {
  Layers layers;
  std::map<std::string, double> columns;
};

Measured measure(const ModelConfig& config) {
  Transformer model(config, Precision::fp32, at::kCPU);
  at::Generator generator = seeded_generator(3);
  initialise_poc(model, generator);
  const auto alone = make_single_communicator();
  ExtraMetrics extra = depth_metrics(model, Mesh({*alone, *alone}, {}), *alone, 1);
  LossTotals totals = make_loss_totals(at::kCPU);
  const at::Tensor ids = at::arange(16, at::kLong).view({2, 8});
  extra.before_step(0);
  model.begin_step();
  model.loss(ids, (ids + 1).remainder(16), 1.0 / 16, totals).backward();
  model.end_backward();
  extra.after_backward(true);
  extra.after_update();
  Measured found;
  for (const ExtraColumn& column : extra.columns) found.columns[column.column.name] = column.measure();
  for (const auto& [name, values] : extra.layers.measure()) found.layers[name] = values;
  EXPECT_EQ(found.layers.size(), extra.layers.metrics.size());
  for (const LayerMetric& metric : extra.layers.metrics)
    EXPECT_EQ(std::ssize(found.layers.at(metric.name)), metric.layers);
  return found;
}

// H_res = a I + b J at the public program's start (docs of the form: src/nn/hyper_connection.h): rows and columns of HC
// sum to e + 3 / e, those of mHC to 1; the other eigenvalues are a.
TEST(DepthMetrics, AmaxGainsOfThePocFormAtItsStartAreTheClosedForms) {
  const double row_sum = std::exp(1.0) + 3 * std::exp(-1.0), a = std::exp(1.0) - std::exp(-1.0);
  for (const int64_t layers : {4, 24}) {
    const Measured hc = measure(small("hc", layers)), mhc = measure(small("mhc", layers));
    for (const char* direction : {"amax_gain_forward", "amax_gain_backward"}) {
      EXPECT_NEAR(hc.columns.at(direction) / std::pow(row_sum, layers), 1, 1e-5);
      EXPECT_NEAR(mhc.columns.at(direction), 1, 1e-5);
      for (int64_t l = 0; l < layers; ++l) {
        const int64_t factors = std::string(direction) == "amax_gain_forward" ? l + 1 : layers - l;
        EXPECT_NEAR(hc.layers.at(direction)[size_t(l)] / std::pow(row_sum, factors), 1, 1e-5);
        EXPECT_NEAR(hc.layers.at(std::string(direction) + "_single")[size_t(l)], row_sum, 1e-5);
        EXPECT_NEAR(mhc.layers.at(direction)[size_t(l)], 1, 1e-5);
      }
    }
    EXPECT_NEAR(hc.columns.at("log_column_sum"), double(layers) * std::log(row_sum), 1e-4);
    EXPECT_NEAR(mhc.columns.at("log_column_sum"), 0, 1e-5);
    EXPECT_NEAR(hc.layers.at("second_eigenvalue")[1], a, 1e-5);
    EXPECT_NEAR(mhc.layers.at("second_eigenvalue")[1], a / row_sum, 1e-5);
  }
}

// Identical streams make mHC h <- 2 h + ..., HC h <- 4.82 h + ...: far in, the residual grows by just that a layer.
TEST(DepthMetrics, ResidualOfThePocFormGrowsByItsClosedFormAndStreamsAreAlike) {
  const double row_sum = std::exp(1.0) + 3 * std::exp(-1.0);
  for (const auto& [residual, growth] : {std::pair<const char*, double>{"mhc", 2.0}, {"hc", row_sum + 1}}) {
    const Measured m = measure(small(residual, 20));
    const std::vector<double>& rms = m.layers.at("residual_rms");
    ASSERT_EQ(rms.size(), 21u);
    EXPECT_NEAR(rms[20] / rms[19], growth, 2e-3);
    for (const double part : m.layers.at("stream_disagreement")) EXPECT_LT(part, 1e-6);
    for (const double share : m.layers.at("nonfinite_share")) EXPECT_EQ(share, 0);
  }
}

TEST(DepthMetrics, GradientsOfTheMixingParametersAreThoseOfEachConnection) {
  ModelConfig config = small("mhc", 3);
  config.connection_form = "paper";
  const Measured m = measure(config);
  EXPECT_EQ(m.layers.at("residual_rms").size(), 7u);
  EXPECT_EQ(m.layers.at("amax_gain_forward").size(), 6u);
  const std::vector<double>& norms = m.layers.at("mixing_gradient_norm");
  ASSERT_EQ(norms.size(), 6u);
  for (const double norm : norms) EXPECT_GT(norm, 0);
  // At the start `home` every sublayer writes to all streams alike.
  for (const double part : m.layers.at("stream_disagreement")) EXPECT_LT(part, 1e-6);
}

TEST(DepthMetrics, OfAPlainResidualAreItsSizeAndFiniteness) {
  const Measured m = measure(small("residual", 3));
  ASSERT_EQ(m.layers.size(), 2u);
  EXPECT_EQ(m.columns.size(), 1u);
  const std::vector<double>& rms = m.layers.at("residual_rms");
  ASSERT_EQ(rms.size(), 4u);
  EXPECT_NEAR(rms[0], 1, 0.2);  // embeddings are standard-normal
  EXPECT_LT(rms[3], 2 * rms[0]);
}

TEST(DepthMetrics, NonfiniteShareBeginsWhereHyperConnectionsOverflow) {
  const std::vector<double> share = measure(small("hc", 64)).layers.at("nonfinite_share");
  EXPECT_EQ(share.front(), 0);
  EXPECT_EQ(share.back(), 1);  // 4.82^28 squared is beyond fp32
}

TEST(DepthMetrics, LooksAtLayersEverySoManyStepsAndNeverAtEvaluations) {
  Transformer model(small("residual", 2), Precision::fp32, at::kCPU);
  at::Generator generator = seeded_generator(3);
  initialise_poc(model, generator);
  const auto alone = make_single_communicator();
  const ExtraMetrics extra = depth_metrics(model, Mesh({*alone, *alone}, {}), *alone, 2);
  const at::Tensor ids = at::arange(8, at::kLong).view({1, 8});
  const auto rows_after = [&](int64_t step, bool evaluates) {
    extra.before_step(step);
    model.begin_step();
    model.logits(ids);
    extra.after_backward(true);
    if (evaluates) model.logits((ids + 3).remainder(8));
    return extra.layers.measure();
  };
  const LayerRows first = rows_after(0, false);
  EXPECT_EQ(first.size(), 2u);
  EXPECT_TRUE(rows_after(1, false).empty());
  EXPECT_EQ(rows_after(2, true), first);
}

TEST(SingleGains, AreOfEachMatrixAndItsSecondEigenvalueMayBeComplex) {
  // A turn by 90 degrees, scaled by 2, beside 3: moduli 3, 2, 2.
  const at::Tensor H = at::tensor({0.0, -2.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 3.0}, at::kDouble).view({1, 3, 3});
  const SingleGains gains = single_gains(H);
  EXPECT_NEAR(gains.second_eigenvalue[0], 2, 1e-12);
  EXPECT_NEAR(gains.amax_forward[0], 3, 1e-12);
  EXPECT_TRUE(std::isnan(single_gains(at::full({1, 2, 2}, NAN, at::kDouble)).second_eigenvalue[0]));
  EXPECT_EQ(single_gains(at::ones({1, 1, 1}, at::kDouble)).second_eigenvalue[0], 0);
}

TEST(CompositeGain, ByLayerIsOfWhatIsBeforeAndForGradientsOfWhatIsBehind) {
  const at::Tensor H = at::tensor({1.0, 2.0, 0.0, 1.0, 3.0, 0.0, 1.0, 1.0}, at::kDouble).view({2, 2, 2});
  const Gain gain = composite_gain(H);
  EXPECT_EQ(gain.amax_forward_by_layer, (std::vector<double>{3, 9}));   // rows of H0, of H1 H0
  EXPECT_EQ(gain.amax_backward_by_layer, (std::vector<double>{9, 4}));  // columns of H1 H0, of H1
  EXPECT_NEAR(gain.log_column_sum_by_layer[0], std::log(3.0), 1e-12);
  EXPECT_NEAR(gain.log_column_sum, std::log(9.0), 1e-12);
}

}  // namespace
}  // namespace braid
