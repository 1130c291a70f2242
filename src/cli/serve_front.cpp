// SPDX-License-Identifier: Apache-2.0
#include "cli/serve_front.h"

#include <iostream>
#include <mutex>
#include <random>

#include "base/error.h"
#include "base/gpu_probe.h"
#include "cli/replica_commands.h"
#include "cli/replica_set.h"
#include "cli/serve_output.h"
#include "cli/stop_signals.h"
#include "serve/fronting.h"
#include "serve/ready_callback.h"

namespace braid {

namespace {

// What the server's thread has noticed, for the main one.
class News {
 public:
  ReplicaEvents events() {
    return {[this](size_t replica) { add(up_, replica); }, [this](size_t replica) { add(silent_, replica); }};
  }
  std::vector<size_t> take_up() { return take(up_); }
  std::vector<size_t> take_silent() { return take(silent_); }

 private:
  void add(std::vector<size_t>& list, size_t replica) {
    const std::lock_guard lock(mutex_);
    list.push_back(replica);
  }
  std::vector<size_t> take(std::vector<size_t>& list) {
    const std::lock_guard lock(mutex_);
    return std::exchange(list, {});
  }

  std::mutex mutex_;
  std::vector<size_t> up_, silent_;
};

std::string random_key() {
  std::random_device random;
  std::ostringstream text;
  for (int i = 0; i < 4; ++i) text << std::hex << random();
  return text.str();
}

std::string names_of(const std::vector<UpstreamAddress>& addresses) {
  std::string text;
  for (const UpstreamAddress& one : addresses) text += (text.empty() ? "" : ", ") + one.host + ":" + one.port;
  return text;
}

// The front, and the replicas that it starts itself, if any.
struct Site {
  const ServeRequest& request;
  std::string url;
  News& news;
  Fronting& fronting;
  std::unique_ptr<ReplicaSet> own;
  bool told = false;  // that it is ready

  void note_news();
  void tell_once();
  std::optional<int> serve_until(const StopSignals& signals);
};

void Site::tell_once() {
  if (std::exchange(told, true)) return;
  say("ready on " + url);
  if (request.callback_url.empty()) return;
  const ReadyNotice notice{request.worker_id, url, fronting.front().memory_bytes()};
  tell_ready(parse_callback_url(request.callback_url), notice);
}

void Site::note_news() {
  for (const size_t replica : news.take_up()) {
    if (own) own->is_up(replica);
    if (!own) say(names_of({request.replica_urls[replica]}) + " is ready");
    tell_once();
  }
  for (const size_t replica : news.take_silent()) {
    if (own) own->end(replica);
  }
}

// The exit code of a replica that cannot be started at all.
std::optional<int> Site::serve_until(const StopSignals& signals) {
  while (!signals.came()) {
    if (own) {
      if (const auto code = own->step()) return code;
    }
    note_news();
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return std::nullopt;
}

FrontOptions front_options(const ServeRequest& request, std::ostream& log, News& news, size_t replicas) {
  FrontOptions options{ApiKeys(request.keys), AccessLog(log), {}, random_key(), news.events()};
  for (size_t i = 0; i < replicas; ++i) {
    const bool own = request.replica_urls.empty();
    options.replicas.push_back(own ? std::to_string(i) : names_of({request.replica_urls[i]}));
  }
  if (!request.replica_urls.empty()) options.replica_key = request.keys.empty() ? "" : request.keys.front();
  return options;
}

}  // namespace

int serve_front(const ServeRequest& request, const Arguments& arguments) {
  const bool elsewhere = !request.replica_urls.empty();
  const std::vector<std::string> devices =
      elsewhere ? std::vector<std::string>()
                : replica_devices(request.devices, request.replicas, probe_gpu().driver);
  StopSignals signals;
  signals.begin_to_keep();
  AccessLogFile log(request.log);
  raise_file_limit(2 * request.http.connections);  // a client's, and the one to its replica
  News news;
  FrontOptions options = front_options(request, log.out(), news, elsewhere ? request.replica_urls.size() : devices.size());
  const std::string key = options.replica_key;
  Fronting fronting(request.host, request.port, request.http, std::move(options));
  Site site{request, url_of(request.host, fronting.port()), news, fronting, nullptr};
  if (elsewhere) {
    say("listening on " + site.url + ", before " + names_of(request.replica_urls));
    for (size_t i = 0; i < request.replica_urls.size(); ++i) fronting.front().place(i, request.replica_urls[i]);
  } else {
    say(str("listening on ", site.url, ", starting ", devices.size(), " replicas of ", request.name));
    site.own = std::make_unique<ReplicaSet>(replica_commands(arguments, devices, own_cores(), key, request.http.connections),
                                            fronting.front(), say);
  }
  if (const auto failed = site.serve_until(signals)) return *failed;
  say("stopping: answers under way may end");
  const bool in_time = fronting.drain(request.drain_seconds);
  fronting.stop();
  if (site.own) site.own->stop();
  say(in_time ? "stopped" : str("stopped; what was not done after ", request.drain_seconds, " s was cancelled"));
  return exit_done;
}

}  // namespace braid
