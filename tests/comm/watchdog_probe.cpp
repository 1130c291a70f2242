// SPDX-License-Identifier: Apache-2.0
// Ranks add numbers in a loop until one of them does something else. Arguments are NAME=VALUE:
//   calls=30 pause=0.05      so many all-reduces, seconds between them
//   act=stop rank=1 after=5  that rank, before its call of that number: stop (SIGSTOP), exit, kill, crash, sleep, size,
//   operation,
//                            throw, patient (all wait for it in a patient barrier), leave (it ends in order)
//   seconds=1                how long it sleeps
//   collective=3 heartbeat=2 abort=3 folder=DIR   of the watchdog, seconds; late=1: rank 0 ends so many seconds later
// The last status that the hook was given goes to FOLDER/status.txt.
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <iostream>
#include <map>
#include <thread>

#include "base/error.h"
#include "comm/agreement.h"
#include "comm/recording_communicator.h"
#include "comm/world.h"

namespace {

using namespace braid;

class Arguments {
 public:
  Arguments(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
      const std::string text = argv[i];
      values_[text.substr(0, text.find('='))] = text.substr(text.find('=') + 1);
    }
  }
  std::string text(const std::string& name) const { return values_.contains(name) ? values_.at(name) : ""; }
  double number(const std::string& name, double otherwise) const {
    return values_.contains(name) ? std::stod(text(name)) : otherwise;
  }

 private:
  std::map<std::string, std::string> values_;
};

void sleep_seconds(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

void add(Communicator& comm, size_t count) {
  std::vector<float> values(count, 1.0f);
  comm.all_reduce({values.data(), count, Dtype::float32}, ReduceOp::sum).wait();
}

// False when this rank ends here.
bool act(World& world, Communicator& patient, const Arguments& arguments, bool chosen) {
  const std::string what = arguments.text("act");
  if (what == "patient") {
    if (chosen) sleep_seconds(arguments.number("seconds", 1));
    patient.barrier();
  } else if (what == "agree") {
    agree(world.host(), [&] {
      if (chosen) throw Error("all agree that it ends");
    });
  } else if (chosen) {
    if (what == "stop") raise(SIGSTOP);
    if (what == "exit") _exit(3);
    if (what == "kill") raise(SIGKILL);
    if (what == "crash") raise(SIGSEGV);
    if (what == "sleep") sleep_seconds(arguments.number("seconds", 1));
    if (what == "size") add(world.host(), 7000);
    if (what == "operation") world.host().barrier();
    if (what == "throw") throw Error("the third shelf is empty");
    if (what == "leave") return false;
  }
  return true;
}

void watch(World& world, const Arguments& arguments) {
  Watchdog& watchdog = world.watchdog();
  watchdog.set_timeouts({arguments.number("collective", 3), arguments.number("collective", 3),
                         arguments.number("heartbeat", 2), arguments.number("abort", 3)});
  const std::string folder = arguments.text("folder");
  watchdog.set_folder(folder);
  watchdog.on_failure([folder](const std::string& line) { std::ofstream(folder + "/status.txt") << line; });
  watchdog.enter_steady_state();
}

void work(World& world, const Arguments& arguments) {
  watch(world, arguments);
  const auto patient = make_patient_split(world.host(), "patient");
  const bool chosen = world.rank() == arguments.number("rank", 1);
  for (int call = 1; call <= arguments.number("calls", 30); ++call) {
    if (call == arguments.number("after", 5) && !act(world, *patient, arguments, chosen)) return;
    add(world.host(), 1000);
    sleep_seconds(arguments.number("pause", 0.05));
  }
  if (world.rank() == 0) sleep_seconds(arguments.number("late", 0));
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  const auto world = World::connect({"cpu", false});
  try {
    work(*world, arguments);
  } catch (const AgreedError& error) {
    if (world->rank() == 0) std::cerr << str(error.what(), "\n") << std::flush;
    return error.exit_code();
  } catch (const std::exception& error) {
    world->abort(error.what(), exit_failed);
  }
}
