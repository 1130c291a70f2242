// SPDX-License-Identifier: Apache-2.0
#include "cli/serve_output.h"

#include <sys/resource.h>

#include <algorithm>

#include "base/clock.h"
#include "base/error.h"

namespace braid {

void say(const std::string& line) { std::cout << line << std::endl; }

std::string url_of(const std::string& host, uint16_t port) {
  const bool everywhere = host == "0.0.0.0" || host == "::";
  const std::string name = everywhere ? host_name() : host.find(':') != std::string::npos ? "[" + host + "]" : host;
  return str("http://", name, ":", port);
}

AccessLogFile::AccessLogFile(const std::string& path) {
  if (path == "-") return;
  file_.open(path, std::ios::app);
  if (!file_) throw UsageError(str("--log ", path, ": cannot be written"));
}

void raise_file_limit(size_t files) {
  constexpr size_t own_files = 256;
  const rlim_t wanted = files + own_files;
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) return;
  limit.rlim_cur = std::min(limit.rlim_max, wanted);
  setrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur >= wanted) return;
  std::cerr << "braid: the system lets this process open " << limit.rlim_cur << " files (ulimit -Hn): fewer connections than "
            << "--connections says" << std::endl;
}

}  // namespace braid
