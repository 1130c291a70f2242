// SPDX-License-Identifier: Apache-2.0
#include "base/config.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"

namespace braid {
namespace {

struct Inner {
  int64_t layers = 12;
  double rate = 1e-3;
  std::string kind = "a";
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
  void describe(ConfigSection& s) {
    s.value("flag", flag, "a flag");
    s.value("text", text, "a text");
    s.value("numbers", numbers, "numbers");
    s.value("words", words, "words");
    s.value("reals", reals, "reals");
    s.table("inner", inner, "a table");
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
  EXPECT_EQ(error_of("flag = \n").substr(0, 9), "f.toml:1:");
}

TEST(Config, OverridesWinAndAreNamedInErrors) {
  const Outer o = read("[inner]\nlayers = 7\n", {"inner.layers=9", "text=runs/demo x", "words=['a,b', 'c']"});
  EXPECT_EQ(o.inner.layers, 9);
  EXPECT_EQ(o.text, "runs/demo x");  // not TOML: taken as a string
  EXPECT_EQ(o.words, (std::vector<std::string>{"a,b", "c"}));
  EXPECT_EQ(error_of("", {"inner.layers=many"}), "--set inner.layers=many: inner.layers: expected an integer, found string \"many\"");
  EXPECT_EQ(error_of("", {"inner"}), "--set inner: expected key=value, as in train.steps=5");
}

TEST(Config, WhatIsWrittenReadsBackTheSame) {
  Outer o;
  o.text = "quote \" backslash \\ tab \t";
  o.inner.rate = 0.1 + 0.2;
  o.reals = {1, 1e-300, HUGE_VAL};
  o.words = {"a", ""};
  const Outer back = read(to_toml(o));
  EXPECT_EQ(back.text, o.text);
  EXPECT_EQ(back.inner.rate, o.inner.rate);
  EXPECT_EQ(back.reals, o.reals);
  EXPECT_EQ(back.words, o.words);
}

TEST(Config, NearestNameIsEmptyWhenNothingIsNear) {
  EXPECT_EQ(nearest_name("trian", {"train", "sweep"}), "train");
  EXPECT_EQ(nearest_name("zzzzzz", {"train", "sweep"}), "");
}

}  // namespace
}  // namespace braid
