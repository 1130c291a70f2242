// SPDX-License-Identifier: Apache-2.0
// What is refused, with its line, and the bounds of a run; what is rendered is compared with jinja2 in
// test_chat_template.py.
#include "text/jinja_template.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace braid {
namespace {

using Json = nlohmann::ordered_json;

std::string refusal(const std::string& source, const Json& variables = Json::object()) {
  try {
    return "rendered: " + jinja::Template(source, "name").render(variables).substr(0, 40);
  } catch (const UsageError& problem) {
    return problem.what();
  }
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(JinjaTemplate, RefusalsNameTheLine) {
  EXPECT_EQ(refusal("a\nb {% for x in y %}\n").substr(0, 7), "name:2:");
  EXPECT_EQ(refusal("\n\n{{ 1 +\n 'a' }}").substr(0, 7), "name:3:");
  EXPECT_EQ(refusal("{% macro f() %}\n{{ x.y }}\n{% endmacro %}\n{{ f() }}").substr(0, 7), "name:2:");
  EXPECT_EQ(refusal("\n{{ raise_exception('no\nway') }}"), "name:2: the template refuses: no way");
}

TEST(JinjaTemplate, WhatIsNotSupportedIsSaid) {
  for (const char* source :
       {"{% include 'x' %}", "{% import 'x' as y %}", "{% extends 'x' %}", "{% block b %}{% endblock %}",
        "{% call f() %}{% endcall %}", "{% for x in y recursive %}{% endfor %}", "{{ f(*x) }}", "{{ 'a' | escape }}",
        "{{ 'x'.encode() }}", "{{ 'x' | wordwrap }}", "{{ cycler(1) }}", "{{ 'é' | upper }}",
        "{{ ('a' | safe) + 'b' }}"}) {
    const std::string line = refusal(source);
    EXPECT_TRUE(has(line, "name:1: ") && has(line, "not supported")) << source << ": " << line;
  }
  EXPECT_EQ(refusal("{{ '<' | tojson | safe }}"), "rendered: \"<\"");
}

TEST(JinjaTemplate, IntegersBeyond64BitsAreRefused) {
  for (const char* source :
       {"{{ 9223372036854775807 + 1 }}", "{{ 2 ** 63 }}", "{{ -9223372036854775807 - 2 }}", "{{ 9223372036854775808 }}",
        "{{ 4611686018427387904 * 2 }}", "{{ '9223372036854775808' | int }}"}) {
    EXPECT_TRUE(has(refusal(source), "64 bits")) << source << refusal(source);
  }
  EXPECT_EQ(refusal("{{ 9223372036854775807 }}{{ -9223372036854775807 - 1 }}"),
            "rendered: 9223372036854775807-9223372036854775808");
}

TEST(JinjaTemplate, WhatGrowsWithoutEndIsStopped) {
  EXPECT_TRUE(has(refusal("{{ 'ab' * 99999999 }}"), "MiB"));
  EXPECT_TRUE(has(
      refusal("{% set n = namespace(s='x') %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}"), "MiB"));
  EXPECT_TRUE(has(
      refusal("{% set n = namespace(s=[1]) %}{% for i in range(99) %}{% set n.s = [n.s, n.s] %}{% endfor %}"), "MiB"));
  EXPECT_TRUE(
      has(refusal("{% set n = namespace(s=[]) %}{% for i in range(999) %}{% set n.s = [n.s] %}{% endfor %}"), "deep"));
  EXPECT_TRUE(has(refusal("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"), "steps"));
  EXPECT_TRUE(has(refusal("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"), "deep"));
  EXPECT_TRUE(has(refusal("{{ " + std::string(5000, '(') + "1" + std::string(5000, ')') + " }}"), "deep"));
  EXPECT_TRUE(has(refusal("{{ " + std::string(5000, '-') + "1 }}"), "deep"));
  std::string sums = "1", blocks;
  for (int i = 0; i < 5000; ++i) sums += " + 1";
  for (int i = 0; i < 5000; ++i) blocks += "{% if true %}";
  EXPECT_TRUE(has(refusal("{{ " + sums + " }}"), "deep"));
  EXPECT_TRUE(has(refusal(blocks), "deep"));
  EXPECT_TRUE(has(refusal(std::string(2 << 20, 'x')), "bytes"));
}

TEST(JinjaTemplate, ANamespaceThatHoldsItselfIsLetGo) {
  EXPECT_EQ(refusal("{% set n = namespace(x=1) %}{% set n.me = n %}{{ n.me.me.x }}"), "rendered: 1");
  EXPECT_TRUE(has(refusal("{% set n = namespace() %}{% for i in [1] %}{% macro f() %}x{% endmacro %}{% set n.f = f "
                          "%}{% endfor %}{{ n.f() }}"),
                  "block that has ended"));
}

TEST(JinjaTemplate, VariablesThatAreNoTextAreRefused) {
  EXPECT_TRUE(has(refusal("x", Json{{"a", "\xff"}}), "UTF-8"));
  EXPECT_TRUE(has(refusal("x", Json{{"a", 18446744073709551615ULL}}), "64 bits"));
  EXPECT_TRUE(has(refusal("\xff"), "UTF-8"));
}

}  // namespace
}  // namespace braid
