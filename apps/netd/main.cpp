// bootseal-netd: the network of one virtual machine, without privileges.
#include <getopt.h>

#include <charconv>
#include <csignal>
#include <cstdio>
#include <string_view>

#include "bootseal/sandbox/sandbox.h"
#include "service.h"

namespace {

using namespace bootseal;

constexpr const char* kUsage =
    "usage: bootseal-netd --vm-id ID --control-fd N\n"
    "Started by bootseal-hostd, once for each virtual machine with network interfaces. N is an inherited "
    "listening\n"
    "Unix socket. It makes sockets in its working folder.\n";

struct Arguments {
  std::string vm_id;
  int control = -1;
};

Result<Arguments> read_arguments(int argc, char** argv) {
  constexpr option kOptions[] = {{"vm-id", required_argument, nullptr, 'v'},
                                 {"control-fd", required_argument, nullptr, 'c'},
                                 {"help", no_argument, nullptr, 'h'},
                                 {nullptr, 0, nullptr, 0}};
  Arguments arguments;
  for (int choice = 0; (choice = ::getopt_long(argc, argv, "", kOptions, nullptr)) != -1;) {
    const std::string_view value = optarg != nullptr ? optarg : "";
    if (choice == 'h') {
      std::fputs(kUsage, stdout);
      std::exit(0);
    }
    if (choice == 'v') {
      arguments.vm_id = value;
    } else if (choice == 'c') {
      const auto [end, problem] =
          std::from_chars(value.data(), value.data() + value.size(), arguments.control);
      if (problem != std::errc() || end != value.data() + value.size()) arguments.control = -1;
    } else {
      return fail(ErrorCode::invalid_argument, "the arguments are not understood; see --help");
    }
  }
  if (optind != argc || arguments.vm_id.empty() || arguments.control < 3)
    return fail(ErrorCode::invalid_argument, "--vm-id and --control-fd are needed; see --help");
  return arguments;
}

Status serve(const Arguments& arguments) {
  std::signal(SIGPIPE, SIG_IGN);
  netd::Service service{UniqueFd(arguments.control)};
  // Before the first byte of a guest.
  BOOTSEAL_TRY_STATUS(sandbox::install_netd_filter());
  return service.run();
}

}  // namespace

int main(int argc, char** argv) {
  const Result<Arguments> arguments = read_arguments(argc, argv);
  const Status status = arguments ? serve(*arguments) : Status(tl::unexpected(arguments.error()));
  if (status) return 0;
  std::fprintf(stderr, "bootseal-netd: %s\n", status.error().describe().c_str());
  return error_info(status.error().code).exit_code;
}
