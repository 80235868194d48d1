// The poll loop of `bootseal-guestd serve`: one thread, one VM.
#pragma once

#include <chrono>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bootseal/guest/guestd.h"
#include "connection.h"
#include "management.h"
#include "nbd_session.h"
#include "poll_set.h"
#include "tpm_control.h"
#include "tpm_data.h"

namespace bootseal::guest {

class Service final : private TpmControlHost {
 public:
  using Time = PollSet::Time;

  // See serve().
  static Result<std::unique_ptr<Service>> create(std::unique_ptr<GuestState> state, ServeOptions options);
  // Until management `shutdown` or a signal.
  Status run();

 private:
  // What hostd has announced; state goes out or comes in only then.
  enum class Migration : std::uint8_t { none, outgoing, incoming };
  struct ControlClient {
    Connection connection;
    TpmControlSession session;
  };
  struct DataClient {
    Connection connection;
    TpmDataSession session;
  };
  struct NbdClient {
    Connection connection;
    NbdSession session;
  };
  struct ManagementClient {
    Connection connection;
    LineBuffer lines;
  };

  Service(std::unique_ptr<StateKeeper> keeper, VariableFlash flash, json::Value description,
          ServeOptions options);

  Status wait();
  [[nodiscard]] std::optional<Time> next_deadline() const;
  void serve_data(Time now);
  void serve_control();
  void serve_nbd(Time now);
  void serve_management();
  void accept_clients();
  bool take_data_channel(UniqueFd fd) override;
  bool may_give_state() override { return migration_ == Migration::outgoing; }
  bool may_take_state() override { return migration_ == Migration::incoming; }
  TpmResult prepare_for_state() override;
  TpmResult power_on(bool delete_volatile) override;
  TpmResult keep_volatile_state() override { return engine_.keep_volatile_state(); }
  Result<json::Value> announce_migration(const json::Value& parameters);
  void handle_request(ManagementClient& client, std::string_view line);
  [[nodiscard]] json::Value status() const;

  void meet_deadlines(Time now);
  void announce_generation(Time now, bool at_once);
  void send_event(std::string_view event, json::Object fields);
  void stop();
  void send_the_rest();

  ServeOptions options_;
  std::unique_ptr<StateKeeper> keeper_;
  VariableFlash flash_;
  TpmEngine engine_;
  json::Value description_;
  uid_t management_uid_ = 0;  // who made the management socket

  Migration migration_ = Migration::none;
  bool state_came_in_ = false;  // since the last INIT
  std::unique_ptr<ControlClient> control_;
  std::unique_ptr<DataClient> data_;
  std::list<NbdClient> nbd_;
  std::list<ManagementClient> management_;
  PollSet polled_;

  Generation announced_;
  Time last_announcement_{};
  bool failure_sent_ = false;
  std::optional<Status> stopped_;  // the outcome, once stop() ran
};

}  // namespace bootseal::guest
