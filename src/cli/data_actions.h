// SPDX-License-Identifier: Apache-2.0
// The actions of braid data. Each parses what follows its name, has a --help of its own, and returns an exit code.
#pragma once

#include "cli/command.h"

namespace braid {

int data_bytes(const Arguments& arguments);  // data_shards.cpp
int data_tokens(const Arguments& arguments);
int data_verify(const Arguments& arguments);
int data_train_tokenizer(const Arguments& arguments);  // data_train_tokenizer.cpp
int data_tokenize(const Arguments& arguments);         // data_tokenize.cpp
int data_detokenize(const Arguments& arguments);
int data_engram(const Arguments& arguments);   // data_engram.cpp
int data_needles(const Arguments& arguments);  // data_needles.cpp
int data_check(const Arguments& arguments);    // data_check.cpp

}  // namespace braid
