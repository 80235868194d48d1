#include "bootseal/host/record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace bootseal::host {
namespace {

json::Value assignment_json() {
  return json::
      parse(R"({"vmId":"6ba7b810-9dad-11d1-80b4-00c04fd430c8","name":"web","epoch":4,"image":{"disk":"/images/d.qcow2","name":"debian:1"},
    "hardware":{"cpus":2,"memoryMiB":1024,"cpuModel":"EPYC"},"security":{"type":"TrustedLaunch","secureBoot":true,"vtpm":true,"template":"MicrosoftWindows"},
    "os":{"computerName":"web1","adminUsername":"alice","sshKeys":["ssh-ed25519 AAAA a@b"],"customData":"#cloud-config\n"},
    "power":{"requestId":"r1","action":"restart"}})")
          .value();
}

TEST(AssignmentJson, IsReadAndWrittenWhole) {
  const Assignment assignment = parse_assignment(assignment_json()).value();
  EXPECT_EQ(assignment.epoch.value, 4U);
  EXPECT_EQ(assignment.cpu_model, "EPYC");
  EXPECT_EQ(assignment.signature_template, "MicrosoftWindows");
  EXPECT_EQ(assignment.action, PowerAction::restart);
  EXPECT_EQ(to_json(assignment), assignment_json());
}

struct Bad {
  const char* path;   // JSON pointer of the member to replace
  const char* value;  // JSON text; "" = remove
  const char* named;  // must occur in the message
};
class BadAssignment : public testing::TestWithParam<Bad> {};

TEST_P(BadAssignment, IsRefusedByTheNameOfItsField) {
  const auto [path, value, named] = GetParam();
  json::Value document = assignment_json();
  const std::string pointer(path);
  const std::size_t slash = pointer.rfind('/');
  json::Value& parent = slash == 0 ? document : document.at_pointer(pointer.substr(0, slash));
  if (*value == '\0') {
    parent.as_object().erase(pointer.substr(slash + 1));
  } else {
    parent.as_object()[pointer.substr(slash + 1)] = json::parse(value).value();
  }
  const auto result = parse_assignment(document);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::invalid_argument);
  EXPECT_THAT(result.error().describe(), testing::HasSubstr(named));
}

INSTANTIATE_TEST_SUITE_P(
    Each, BadAssignment,
    testing::Values(
        Bad{"/vmId", "\"x\"", "vmId"}, Bad{"/name", "\"../x\"", "name"}, Bad{"/epoch", "0", "epoch"},
        Bad{"/epoch", "-1", "epoch"}, Bad{"/image/disk", "\"relative\"", "disk"},
        Bad{"/image/disk", "\"/a/../b\"", "disk"}, Bad{"/hardware/cpus", "0", "cpus"},
        Bad{"/hardware/cpus", "257", "cpus"}, Bad{"/hardware/memoryMiB", "1", "memoryMiB"},
        Bad{"/hardware/cpuModel", "\"max,+evil\"", "cpuModel"},
        Bad{"/security/type", "\"Confidential\"", "type"}, Bad{"/security/type", "\"Standard\"", "Standard"},
        Bad{"/security/template", "\"Mine\"", "template"}, Bad{"/security/template", "\"None\"", "template"},
        Bad{"/os/adminUsername", "\"a\\nb\"", "adminUsername"}, Bad{"/os/sshKeys", "[\"a\\nb\"]", "sshKeys"},
        Bad{"/power/action", "\"explode\"", "action"}, Bad{"/power/requestId", "\"\"", "requestId"},
        Bad{"/hardware", "", "hardware"}, Bad{"/surplus", "1", "surplus"}));

Record full_record() {
  Record record;
  record.assignment = parse_assignment(assignment_json()).value();
  record.slot = 12;
  record.machine_type = "pc-q35-7.2";
  record.created = parse_time("2026-11-21T20:44:45.123456Z").value();
  record.boot_id = "b";
  record.provisioning = ProvisioningState::failed;
  record.provisioning_error = Error{ErrorCode::guest_state_stale, "old", nullptr};
  record.power = PowerState::stopping;
  record.request =
      PowerRequest{"r1", PowerAction::kill, RequestState::failed, Error{ErrorCode::timeout, "late", nullptr}};
  record.boot = {"Refused", "shim", "\\EFI\\x", "why", record.created};
  record.stop_reason = Notice{"Killed", "on request", record.created};
  record.generation = Generation{77};
  record.sealed_secure_boot = false;
  record.guest_state_bytes = 4096;
  record.tpm = TpmIdentity{"CN=ca", "CN=ek", "aa", "bb"};
  record.attestation = json::Object{{"status", "Healthy"}};
  record.accelerator = "kvm";
  record.started = record.created;
  record.timings = {123, 456};
  record.qemu = ProcessIdentity{100, 2000};
  record.guestd = ProcessIdentity{101, 2001};
  return record;
}

TEST(RecordJson, EverythingComesBack) {
  const Record record = full_record();
  const json::Value written = to_json(record);
  const Record read = parse_record(json::serialize(written)).value();
  EXPECT_EQ(to_json(read), written);
  EXPECT_EQ(read.qemu, record.qemu);
  EXPECT_EQ(read.request->error->code, ErrorCode::timeout);
  EXPECT_EQ(read.timings.start_to_verdict_ms, 456);
  Record minimal;
  minimal.assignment = record.assignment;
  EXPECT_EQ(to_json(parse_record(json::serialize(to_json(minimal))).value()), to_json(minimal));
}

TEST(RecordJson, DamageIsCorruptAndNothingElse) {
  const std::string good = json::serialize(to_json(full_record()));
  for (std::size_t cut = 0; cut < good.size(); cut += 7) {
    const auto result = parse_record(std::string_view(good).substr(0, cut));
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, ErrorCode::corrupt);
  }
  json::Value newer = to_json(full_record());
  newer.as_object()["formatVersion"] = 2;
  EXPECT_EQ(parse_record(json::serialize(newer)).error().code, ErrorCode::corrupt);
}

TEST(StatusJson, HasTheShapeOfTheContract) {
  const json::Value status = status_json(full_record(), 9);
  EXPECT_EQ(status.at("provisioning").at("state").as_string(), "Failed");
  EXPECT_EQ(status.at("provisioning").at("error").at("code").as_string(), "GuestStateStale");
  EXPECT_EQ(status.at("power").as_string(), "Stopping");
  EXPECT_EQ(status.at("powerRequest").at("requestId").as_string(), "r1");
  EXPECT_EQ(status.at("powerRequest").at("error").at("code").as_string(), "Timeout");
  EXPECT_EQ(status.at("boot").at("outcome").as_string(), "Refused");
  EXPECT_EQ(status.at("stopReason").at("code").as_string(), "Killed");
  EXPECT_EQ(status.at("guestState").at("algorithm").as_string(), "AES-256-GCM");
  EXPECT_EQ(status.at("guestState").at("keyName").as_string(), "6ba7b810-9dad-11d1-80b4-00c04fd430c8");
  EXPECT_EQ(status.at("guestState").at("generation").to_number<std::int64_t>(), 77);
  EXPECT_EQ(status.at("vtpm").at("akPublicSha256").as_string(), "bb");
  EXPECT_EQ(status.at("processes").at("qemu").to_number<std::int64_t>(), 100);
  EXPECT_EQ(status.at("timings").at("createToRunningMs").to_number<std::int64_t>(), 123);
  EXPECT_EQ(status.at("revision").to_number<std::int64_t>(), 9);
  EXPECT_FALSE(status.as_object().contains("assignment"))
      << "customData and keys of the owner are nobody's business here";
}

}  // namespace
}  // namespace bootseal::host
