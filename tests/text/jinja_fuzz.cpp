// SPDX-License-Identifier: Apache-2.0
// Feeds broken templates to the interpreter: each is a seed template with pieces cut out, doubled, swapped, spliced
// from another or replaced by random bytes. Whatever comes out of it must be a text or a UsageError of one line.
// jinja_fuzz COUNT SEED; built with the address and undefined-behaviour sanitizers.
#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>

#include "base/error.h"
#include "text/jinja_template.h"

namespace {

using Json = nlohmann::ordered_json;

const std::vector<std::string> seeds = {
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\\n' + m.content | trim }}{% if loop.last %}{{ eos }}{% endif "
    "%}{% endfor %}",
    "{%- set ns = namespace(i=0, s='x') %}{% for m in messages[::-1] %}{% set ns.s = ns.s ~ ns.s ~ m.role %}{% set "
    "ns.i = ns.i + 1 %}{% endfor %}{{ ns.s }}",
    "{% macro f(a, b=[1, {'k': a}], c=none) -%} {{ a }}{{ b[0:2] }}{% if a %}{{ f(a[1:], c=f) }}{% endif %} {%- "
    "endmacro %}{{ f('héllo') }}",
    "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | join(', ') | upper | "
    "replace('A', 'bb') }}",
    "{{ messages | tojson(indent=2) }}{{ {'a': [1, 2.5e3, none, true], \"b\": 'x\\u00e9\\n'} | tojson(sort_keys=true) "
    "}}",
    "{% raw %}{{ x }}{% endraw %}{# note #}{%+ if 1 < 2 <= 3 and not x is defined or 'a' in 'abc' %}y{% elif 0 %}{% "
    "else %}z{% endif %}",
    "{% set ns = namespace(l=[]) %}{% for i in range(200) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l == ns.l "
    "}}{{ ns.l }}",
    "{% set ns = namespace(x=1) %}{% set ns.me = ns %}{% set ns.f = range %}{{ ns.me.me.x ** 63 }}{{ 'a' * 99999999 "
    "}}{{ -7 // 2 % 3 }}",
    "{% for k, v in {'a': 1, 'b': [2]}.items() %}{{ k.title() }}{{ v }}{% else %}{% break %}{% endfor %}{% set a, (b, "
    "c) = 1, [2, 3] %}",
    "{{ 'a,b , c'.split(',', 1)[-1].strip().startswith(('x', 'b')) }}{{ strftime_now('%Y') }}{{ "
    "raise_exception('no\\nway') }}",
    "{% filter upper | trim %} {% set x | default('d') %} {{ [3, 1, 2] | sort(reverse=true) | first }}{% endset %}{{ x "
    "}}{% endfilter %}",
    "{% for i in range(99999) %}{% for j in range(99999) %}{{ i * j }}{% endfor %}{% endfor %}",
    "{{ ((((((((1)))))))) }}{{ [[[[[[[[2]]]]]]]] }}{{ not not not - - + 1 }}{{ 1 if 0 else 2 if x else 3 }}{{ 1_0.5e-3 "
    "+ 0x1F }}"};

const std::vector<std::string> tokens = {"{{",          "}}",
                                         "{%",          "%}",
                                         "{%-",         "-%}",
                                         "{#",          "#}",
                                         "(",           ")",
                                         "[",           "]",
                                         "{",           "}",
                                         "|",           ".",
                                         ",",           ":",
                                         "'",           "\"",
                                         "\\",          " if ",
                                         " else ",      " for ",
                                         " in ",        " is ",
                                         " not ",       "endfor",
                                         "endif",       "macro ",
                                         "set ",        "loop.",
                                         "messages",    "[::-1]",
                                         "**",          "//",
                                         "~",           "9223372036854775807",
                                         "-",           "1e999",
                                         "\xff",        "\xc3",
                                         "é",           "\r\n",
                                         "namespace()", "|list",
                                         "|tojson",     "|map('",
                                         "[-1:0:0]",    "\\x",
                                         "{% raw %}",   "{% endraw %}"};

class Mutator {
 public:
  explicit Mutator(uint64_t seed) : random_(seed) {}

  std::string next() {
    std::string text = pick(seeds);
    for (size_t changes = 1 + below(6); changes > 0; --changes) change(text);
    return below(40) == 0 ? deep(text) : text;
  }

 private:
  size_t below(size_t bound) { return bound == 0 ? 0 : random_() % bound; }
  const std::string& pick(const std::vector<std::string>& from) { return from[below(from.size())]; }

  void change(std::string& text) {
    const size_t at = below(text.size() + 1), length = below(std::min<size_t>(text.size() - at + 1, 12));
    switch (below(6)) {
      case 0: text.erase(at, length); break;
      case 1: text.insert(at, pick(tokens)); break;
      case 2: text.insert(at, text.substr(at, length)); break;
      case 3: text.replace(at, length, pick(tokens)); break;
      case 4: text.insert(at, std::string(1, static_cast<char>(below(256)))); break;
      default: text = text.substr(0, at) + pick(seeds).substr(below(40)); break;
    }
  }

  // One token a thousand times over.
  std::string deep(const std::string& text) {
    std::string repeated;
    const std::string& token = pick(tokens);
    for (int i = 0; i < 1000; ++i) repeated += token;
    return below(2) == 0 ? "{{ " + repeated + text : text + repeated;
  }

  std::mt19937_64 random_;
};

bool ends_well(const std::string& source, const Json& variables) {
  try {
    braid::jinja::Template(source, "fuzz").render(variables);
  } catch (const braid::UsageError& refusal) {
    return std::string(refusal.what()).find('\n') == std::string::npos;
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  const long count = argc > 1 ? std::atol(argv[1]) : 1000;
  Mutator mutator(argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1);
  const Json variables =
      Json::parse(R"({"messages": [{"role": "user", "content": " Hi é "}, {"role": "assistant", "content": "x"}],
                                         "eos": "</s>", "big": 9223372036854775807, "nested": [[1, [2.5]], {"a": null}]})");
  for (long i = 0; i < count; ++i) {
    const std::string source = mutator.next();
    if (!ends_well(source, variables)) {
      std::cerr << "template " << i << ": a message of several lines for\n" << source << "\n";
      return 1;
    }
  }
  std::cout << count << " templates\n";
}
