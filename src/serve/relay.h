// SPDX-License-Identifier: Apache-2.0
// One request of a front's client, from one replica to the next until one answers it. A request of which the client has
// seen a token cannot move: it fails with its replica. On the server's thread alone.
#pragma once

#include <optional>

#include "serve/call.h"
#include "serve/replicas.h"
#include "serve/request_tokens.h"

namespace braid {

class Relay : public std::enable_shared_from_this<Relay> {
 public:
  // tokens: what it may need, by the context that a replica has.
  Relay(std::shared_ptr<Call> call, UpstreamRequest request, RequestTokens tokens, Replicas& replicas);

  void start(std::function<void()> on_done);  // called once it has ended, perhaps at once
  void cancel();                              // the server ends
  void lose(size_t replica);                  // that replica says nothing any more

 private:
  void try_next();
  void ask(Replica& replica);
  void take_head(const HttpReply& head);
  void take(const std::string& piece);
  void take_events();
  bool comes_before_tokens(const std::string& event) const;
  void pass(const std::string& event);
  void end(const std::string& problem);
  void end_whole();
  bool may_move() const;
  void leave_replica();
  void fail(const Refusal& why);
  void finish();
  template <class Act>
  void tell(const Act& act);

  std::shared_ptr<Call> call_;
  UpstreamRequest request_;
  RequestTokens tokens_;
  Replicas& replicas_;
  std::function<void()> on_done_;

  std::vector<size_t> tried_;  // replicas, the last one is asked now
  std::shared_ptr<Upstream> upstream_;
  RequestTokens left_;  // of its tokens on the replica's account
  bool on_account_ = false;

  HttpReply reply_{0, "", "", {}};  // of the replica that is asked; what of its stream is no whole event yet
  bool streaming_ = false;         // it answers with events
  bool begun_ = false;             // the client has the head of a stream
  bool has_token_ = false;         // and a token
  size_t told_ = 0, skipped_ = 0;  // events before the first token: that the client has; that came again since a move
  bool done_ = false;
};

}  // namespace braid
