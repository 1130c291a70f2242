// SPDX-License-Identifier: Apache-2.0
// `braid data engram`: pattern files into the examples of the Engram experiment.
#pragma once

namespace cxxopts {
class Options;
class ParseResult;
}  // namespace cxxopts

namespace braid {

void add_engram_options(cxxopts::Options& options);
int split_engram_patterns(const cxxopts::ParseResult& parsed);

}  // namespace braid
