// SPDX-License-Identifier: Apache-2.0
// Which changes of a configuration make another run of it.
#include "experiments/config_changes.h"

#include <gtest/gtest.h>

#include <map>
#include <optional>

#include "base/config.h"
#include "base/error.h"

namespace braid {
namespace {

std::string text_of(RunConfig config) { return to_toml(config); }

// Every key there is, and whether it may change. A new one may not, until it is named here as well.
std::map<std::string, bool> keys_that_may_change() {
  std::map<std::string, bool> keys;
  RunConfig config;
  for (const ConfigKey& key : config_keys([&](ConfigSection& section) { config.describe(section); })) {
    if (key.is_table()) continue;
    const std::string table = key.name.substr(0, key.name.find('.'));
    keys[key.name] = table == "checkpoint" || table == "watchdog" || table == "sweep" || table == "eval" ||
                     table == "parallel";
  }
  for (const char* key : {"data.path",
                          "train.steps",
                          "train.micro_batch",
                          "train.log_every",
                          "train.eval_every",
                          "train.eval_samples",
                          "train.deterministic",
                          "train.nonfinite",
                          "train.nonfinite_limit",
                          "train.outlier",
                          "train.outlier_zscore",
                          "train.outlier_window",
                          "train.rewind_limit",
                          "train.patience",
                          "train.recompute",
                          "train.recompute_part",
                          "train.stream_interval",
                          "optim.paged",
                          "optim.offload",
                          "parallel.shard",
                          "train.epochs",
                          "gist.shard_segments",
                          "gist.eval_length",
                          "gist.eval_answers",
                          "gist.eval_keys",
                          "gist.eval_task",
                          "train.layer_metrics_every"}) {
    keys.at(key) = true;
  }
  return keys;
}

// The configuration with one key set to another value of its kind; nothing where none was found.
std::optional<RunConfig> with_another(const std::string& key) {
  for (const char* value : {"7",
                            "6",
                            "33",
                            "0.25",
                            "true",
                            "false",
                            "\"llama\"",
                            "\"sdpa\"",
                            "\"standard\"",
                            "\"hc\"",
                            "\"bytes\"",
                            "\"matrices\"",
                            "\"gpipe\"",
                            "\"cosine\"",
                            "\"attention\"",
                            "\"auto\"",
                            "\"bf16\"",
                            "\"alpaca\"",
                            "\"adamw8bit\"",
                            "\"linear\"",
                            "\"stop\"",
                            "\"elsewhere\"",
                            "\"plain\"",
                            "\"nf4\"",
                            "\"paper\"",
                            "\"permutations\"",
                            "\"zeros\"",
                            "\"mean\"",
                            "\"vt\"",
                            "\"gist\"",
                            "\"span\"",
                            "\"digits\"",
                            "\"first\"",
                            "\"gradients\"",
                            "[4]",
                            "[\"hc\"]"}) {
    RunConfig config;
    try {
      ConfigDocument document = ConfigDocument::from_text(text_of(config), "test");
      document.override_with(key + "=" + value);
      document.read_into(config);
    } catch (const Error&) {
      continue;
    }
    if (text_of(config) != text_of(RunConfig{})) return config;
  }
  return std::nullopt;
}

TEST(ConfigChanges, EveryKeyIsFoundByItselfAndAllowedOrNot) {
  const std::string before = text_of(RunConfig{});
  for (const auto& [key, allowed] : keys_that_may_change()) {
    const auto changed = with_another(key);
    ASSERT_TRUE(changed) << key << ": no other value is known to this test";
    const std::vector<ConfigChange> changes = config_changes(before, *changed);
    ASSERT_EQ(changes.size(), 1u) << key;
    EXPECT_EQ(changes[0].key, key);
    EXPECT_EQ(changes[0].allowed, allowed) << key;
  }
}

TEST(ConfigChanges, OfTheSameAreNone) {
  RunConfig config;
  config.train.seed = 5;
  EXPECT_TRUE(config_changes(text_of(config), config).empty());
}

TEST(ConfigChanges, AreToldAsBeforeAndNow) {
  RunConfig before, now;
  now.model.layers = before.model.layers + 2;
  now.train.seed = 1;
  now.train.steps = before.train.steps + 50;
  const std::vector<ConfigChange> changes = config_changes(text_of(before), now);
  EXPECT_EQ(describe_changes(changes, false),
            str("model.layers ", before.model.layers, " -> ", now.model.layers, ", train.seed 0 -> 1"));
  EXPECT_EQ(describe_changes(changes, true), str("train.steps ", before.train.steps, " -> ", now.train.steps));
}

TEST(ConfigChanges, AKeyThatTheEarlierTextLacksHadItsDefault) {
  RunConfig now;
  EXPECT_TRUE(config_changes("[model]\n", now).empty());
  now.optim.beta1 = 0.5;
  EXPECT_EQ(config_changes("[model]\n", now).at(0).key, "optim.beta1");
}

TEST(ConfigChanges, ATextThatCannotBeReadIsOneChangeThatIsNotAllowed) {
  for (const char* text : {"[modle]\n", "[model\n", "[model]\nlayers = \"many\"\n"}) {
    const std::vector<ConfigChange> changes = config_changes(text, RunConfig{});
    ASSERT_EQ(changes.size(), 1u) << text;
    EXPECT_FALSE(changes[0].allowed);
  }
}

}  // namespace
}  // namespace braid
