// What hostd asks of bootseal-netd: JSON lines on a Unix socket, sockets beside them (docs/architecture.md).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "nic.h"

namespace bootseal::netd {

class Service {
 public:
  // `listener` is a listening Unix socket; one client at a time is heard, a new one takes its place.
  explicit Service(UniqueFd listener) : listener_(std::move(listener)) {}
  // Runs until the process is ended. Errors: those of poll().
  Status run();

  // The answer to one request; `socket` came with it. Public for tests.
  json::Value answer(std::string_view line, UniqueFd socket);

 private:
  void accept_client();
  void hear_client();
  Result<json::Value> carry_out(std::string_view method, json::Reader& parameters, UniqueFd socket);
  Status configure(json::Reader& parameters);
  Result<Nic*> nic_of(json::Reader& parameters);

  UniqueFd listener_, client_;
  int listener_index_ = -1, client_index_ = -1;
  std::string line_;
  UniqueFd socket_;  // came with the line that is being read
  std::vector<std::unique_ptr<Nic>> nics_;
  PollSet set_;
};

}  // namespace bootseal::netd
