// Where Bootseal keeps its state and its sockets.
#pragma once

#include <filesystem>

#include "bootseal/base/result.h"

namespace bootseal {

struct Paths {
  std::filesystem::path home;  // BOOTSEAL_HOME, else /var/lib/bootseal for root, else
                               // ${XDG_STATE_HOME:-~/.local/state}/bootseal
  std::filesystem::path
      run;  // BOOTSEAL_RUN, else /run/bootseal for root with the default home, else HOME/run
  std::filesystem::path programs;  // BOOTSEAL_BIN, else the folder of the running program
  std::filesystem::path data;  // BOOTSEAL_SHARE, else PROGRAMS/../share/bootseal (templates, image recipes)

  // From the environment. invalid_argument when a variable is not an absolute path or HOME is needed and
  // missing.
  static Result<Paths> from_environment();

  [[nodiscard]] std::filesystem::path folder_of(std::string_view daemon) const {
    return home / daemon;
  }                                                                              // private to the daemon
  [[nodiscard]] std::filesystem::path socket_of(std::string_view daemon) const;  // RUN/DAEMON.sock
  [[nodiscard]] std::filesystem::path credentials() const { return home / "credentials"; }
  [[nodiscard]] std::filesystem::path images() const { return home / "images"; }
};

}  // namespace bootseal
