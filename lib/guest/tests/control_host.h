// The process around a control session, as tests and fuzz targets want it.
#pragma once

#include "tpm_control.h"

namespace bootseal::guest::test {

class ControlHost final : public TpmControlHost {
 public:
  explicit ControlHost(TpmEngine& engine) : engine_(engine) {}

  bool take_data_channel(UniqueFd fd) override {
    if (accept_data_channels) data_channels.push_back(std::move(fd));
    return accept_data_channels;
  }
  bool may_give_state() override { return migrating; }
  bool may_take_state() override { return migrating; }
  TpmResult power_on(bool) override { return engine_.power_on(); }
  TpmResult keep_volatile_state() override { return engine_.keep_volatile_state(); }
  void shutdown_requested() override { ++shutdowns; }

  std::vector<UniqueFd> data_channels;
  bool accept_data_channels = true;
  bool migrating = true;
  int shutdowns = 0;

 private:
  TpmEngine& engine_;
};

}  // namespace bootseal::guest::test
