// The poll loop of bootseal-swtpm: one thread, one TPM.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include "bootseal/guest/swtpm.h"
#include "connection.h"
#include "poll_set.h"
#include "tpm_control.h"
#include "tpm_data.h"

namespace bootseal::guest {

class SwtpmService final : private TpmControlHost {
 public:
  using Time = PollSet::Time;

  explicit SwtpmService(SwtpmOptions options);
  ~SwtpmService() override = default;
  // See run_swtpm().
  Status run();

 private:
  struct ControlClient {
    Connection connection;
    TpmControlSession session;
  };
  struct DataClient {
    Connection connection;
    TpmDataSession session;
  };

  Status start();
  Status wait();
  void serve_data();
  void serve_control();
  void accept_clients();
  void attach_data(UniqueFd fd);
  void attach_control(UniqueFd fd);
  void finish();
  [[nodiscard]] bool is_to_be_remembered() const;
  void note_generation();
  void remember(bool at_once);
  TpmResult no_store();
  [[nodiscard]] bool is_open() const;
  TpmResult take_state(Result<std::unique_ptr<GuestState>> state);
  TpmResult open_state(SwtpmStore::WhenMissing when_missing);
  TpmResult load_volatile();
  TpmResult say_failure(const Error& error);
  [[nodiscard]] TpmResult not_started() const;

  bool take_data_channel(UniqueFd fd) override;
  bool may_give_state() override { return true; }
  bool may_take_state() override { return true; }
  TpmResult power_on(bool delete_volatile) override;
  TpmResult keep_volatile_state() override;
  TpmResult prepare_for_state() override;
  void shutdown_requested() override { ending_ = true; }

  SwtpmOptions options_;
  StateKeys keys_;
  bool fixed_data_ = false;  // the data channel came with the command line
  StateKeeper keeper_{nullptr};
  TpmEngine engine_;
  bool state_came_in_ = false;  // and no INIT has used it
  bool ending_ = false;
  Generation remembered_;
  Generation noted_;  // in the file, not flushed yet
  Time last_remembered_{};
  std::unique_ptr<ControlClient> control_;
  std::unique_ptr<DataClient> data_;
  PollSet polled_;
};

}  // namespace bootseal::guest
