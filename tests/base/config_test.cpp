// SPDX-License-Identifier: Apache-2.0
#include "base/config.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "base/error.h"

namespace braid {
namespace {

struct Inner {
  int64_t layers = 12;
  double rate = 1e-3;
  std::string kind = "a";
  bool operator==(const Inner&) const = default;
  void describe(ConfigSection& s) {
    s.value("layers", layers, "depth", 1, 100);
    s.value("rate", rate, "learning rate", 0.0);
    s.choice("kind", kind, {"a", "b"}, "kind");
  }
};

struct Outer {
  bool flag = false;
  std::string text = "x";
  std::vector<int64_t> numbers = {1, 2};
  std::vector<std::string> words;
  std::vector<double> reals;
  Inner inner;
  double late = 0.5;
  bool operator==(const Outer&) const = default;
  void describe(ConfigSection& s) {
    s.value("flag", flag, "a flag");
    s.value("text", text, "a text");
    s.value("numbers", numbers, "numbers");
    s.value("words", words, "words");
    s.value("reals", reals, "reals");
    s.table("inner", inner, "a table");
    s.value("late", late, "described after a table");
  }
};

Outer read(const std::string& toml, const std::vector<std::string>& overrides = {}) {
  ConfigDocument document = ConfigDocument::from_text(toml, "f.toml");
  for (const std::string& assignment : overrides) document.override_with(assignment);
  Outer outer;
  document.read_into(outer);
  return outer;
}

std::string error_of(const std::string& toml, const std::vector<std::string>& overrides = {}) {
  try {
    read(toml, overrides);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

TEST(Config, ValuesAreReadAndTheRestKeepsItsDefault) {
  const Outer o = read("flag = true\nnumbers = [3]\nreals = [1, 2.5]\n[inner]\nlayers = 7\nrate = 2\n");
  EXPECT_TRUE(o.flag);
  EXPECT_EQ(o.text, "x");
  EXPECT_EQ(o.numbers, std::vector<int64_t>{3});
  EXPECT_EQ(o.reals, (std::vector<double>{1, 2.5}));
  EXPECT_EQ(o.inner.layers, 7);
  EXPECT_EQ(o.inner.rate, 2.0);  // an integer is a number
}

TEST(Config, ErrorsNameFileLineKeyAndWhatWasExpected) {
  EXPECT_EQ(error_of("\n[inner]\nlayres = 3\n"), "f.toml:3: unknown key inner.layres; nearest known key: inner.layers");
  EXPECT_EQ(error_of("layers = 3\n"), "f.toml:1: unknown key layers; nearest known key: inner.layers");
  EXPECT_EQ(error_of("[inner]\nlayers = \"x\"\n"), "f.toml:2: inner.layers: expected an integer, found string \"x\"");
  EXPECT_EQ(error_of("[inner]\nlayers = 3.5\n"), "f.toml:2: inner.layers: expected an integer, found number 3.5");
  EXPECT_EQ(error_of("[inner]\nlayers = 0\n"), "f.toml:2: inner.layers: expected a value from 1 to 100, found 0");
  EXPECT_EQ(error_of("[inner]\nkind = \"c\"\n"), "f.toml:2: inner.kind: expected one of a, b, found \"c\"");
  EXPECT_EQ(error_of("numbers = [1, \"2\"]\n"), "f.toml:1: numbers: expected an array of integers, found string \"2\" in it");
  EXPECT_EQ(error_of("inner = 3\n"), "f.toml:1: inner: expected a table, found integer 3");
  EXPECT_EQ(error_of("[iner]\n"), "f.toml:1: unknown key iner; nearest known key: inner");
  EXPECT_EQ(error_of("[inner]\nrate = -1e-9\n"), "f.toml:2: inner.rate: expected at least 0.0, found -1e-09");
  EXPECT_EQ(error_of("[inner]\nrate = nan\n"), "f.toml:2: inner.rate: expected at least 0.0, found nan");
  EXPECT_EQ(error_of("flag = \n").substr(0, 9), "f.toml:1:");
  EXPECT_EQ(error_of("\nflag = true\nflag = true\n").substr(0, 9), "f.toml:3:");
}

TEST(Config, AnErrorIsOneLineWhateverItQuotes) {
  EXPECT_EQ(error_of("late = \"a\\nb\"\n"), "f.toml:1: late: expected a number, found string \"a\\u000ab\"");
  EXPECT_EQ(error_of("\"a\\nb\" = 1\n"), "f.toml:1: unknown key \"a\\u000ab\"");
  EXPECT_EQ(error_of("", {"late=a\nb"}).find('\n'), std::string::npos);
}

TEST(Config, AQuotedKeyIsNotAPathOfKeys) {
  EXPECT_EQ(error_of("\"inner.layers\" = 3\n"),
            "f.toml:1: unknown key \"inner.layers\"; nearest known key: inner.layers");
}

std::string file_error(const std::string& path) {
  try {
    ConfigDocument::from_file(path);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

TEST(Config, AFileThatCannotBeReadIsAUsageError) {
  EXPECT_EQ(file_error("/no/such.toml"), "/no/such.toml: no such configuration file");
  EXPECT_EQ(file_error("/tmp"), "/tmp: expected a TOML file, found a folder");
  const std::string long_name(5000, 'a');
  EXPECT_EQ(file_error(long_name), long_name + ": expected a TOML file: File name too long");
}

TEST(Config, OverridesWinAndAreNamedInErrors) {
  const Outer o = read("[inner]\nlayers = 7\n", {"inner.layers=9", "text=runs/demo x", "words=['a,b', 'c']"});
  EXPECT_EQ(o.inner.layers, 9);
  EXPECT_EQ(o.text, "runs/demo x");  // not TOML: taken as a string
  EXPECT_EQ(o.words, (std::vector<std::string>{"a,b", "c"}));
  EXPECT_EQ(error_of("", {"inner.layers=many"}), "--set inner.layers=many: inner.layers: expected an integer, found string \"many\"");
  EXPECT_EQ(error_of("", {"inner={layers=0}"}),
            "--set inner={layers=0}: inner.layers: expected a value from 1 to 100, found 0");
  EXPECT_EQ(error_of("[inner]\nrate = -1.0\n", {"inner.layers=9"}).substr(0, 9), "f.toml:2:");
  EXPECT_EQ(error_of("", {"iner.layers=9"}), "--set iner.layers=9: unknown key iner; nearest known key: inner");
  EXPECT_EQ(error_of("", {"inner"}), "--set inner: expected key=value, as in train.steps=5");
}

TEST(Config, AnOverrideSetsOneKeyOnly) {
  const Outer o = read("", {"text='a'\nlate = 9"});
  EXPECT_EQ(o.text, "'a'\nlate = 9");
  EXPECT_EQ(o.late, 0.5);
}

TEST(Config, AKeyIsFoundByItsPlace) {
  ConfigDocument document = ConfigDocument::from_text("\n[inner]\nlayers = 1\n", "f.toml");
  document.override_with("inner.rate=2.0");
  EXPECT_TRUE(document.contains("inner.layers"));
  EXPECT_FALSE(document.contains("sweep"));
  EXPECT_EQ(document.where("inner.layers"), "f.toml:3");
  EXPECT_EQ(document.where("inner.rate"), "--set inner.rate=2.0");
  EXPECT_EQ(document.where("late"), "f.toml");
}

TEST(Config, WhatIsWrittenReadsBackTheSame) {
  Outer o;
  o.flag = true;
  o.text = "quote \" backslash \\ tab \t line \n delete \x7f umlaut \u00e4";
  o.numbers = {std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()};
  o.reals = {1, 1e-300, 5e-324, 1.7976931348623157e308, -HUGE_VAL, HUGE_VAL};
  o.words = {"a", ""};
  o.inner = {7, 0.1 + 0.2, "b"};
  o.late = 3;
  EXPECT_EQ(read(to_toml(o)), o);
  EXPECT_TRUE(o == o && !(o == Outer()));

  o.late = std::nan("");
  EXPECT_TRUE(std::isnan(read(to_toml(o)).late));
}

TEST(Config, IsWrittenInDescribedOrder) {
  Outer o;
  EXPECT_EQ(to_toml(o),
            "flag = false\ntext = \"x\"\nnumbers = [1, 2]\nwords = []\nreals = []\nlate = 0.5\n"
            "\n[inner]\nlayers = 12\nrate = 0.001\nkind = \"a\"\n");
}

TEST(Config, TheReferenceNamesEveryKeyWithDefaultRangeAndHelp) {
  Inner inner;
  const std::string table = config_reference([&](ConfigSection& s) { inner.describe(s); });
  EXPECT_EQ(table,
            "key     default  type                 meaning\n"
            "layers  12       integer in [1, 100]  depth\n"
            "rate    0.001    number >= 0.0        learning rate\n"
            "kind    \"a\"      a | b                kind\n");
}

TEST(Config, NearestNameIsEmptyWhenNothingIsNear) {
  EXPECT_EQ(nearest_name("trian", {"train", "sweep"}), "train");
  EXPECT_EQ(nearest_name("zzzzzz", {"train", "sweep"}), "");
  EXPECT_EQ(nearest_name("lr", {"hc", "model"}), "");
  EXPECT_EQ(nearest_name("model.xyz", {"model.mlp", "model.heads"}), "");  // a shared table alone is not near
  EXPECT_EQ(nearest_name("train.heds", {"model.heads", "train.steps"}), "model.heads");
}

}  // namespace
}  // namespace braid
