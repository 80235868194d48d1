// Evidence from the guest, a verdict from attestd. Silence is never health: a verdict that is not of this
// run, or that could not be renewed in time, is not shown as Healthy.
#include <fmt/format.h>

#include "bootseal/host/vm.h"
#include "bootseal/log/log.h"

namespace bootseal::host {
namespace {

constexpr std::chrono::minutes kGrace{10};

std::string evidence_time_of(const json::Value& verdict) {
  const json::Object* object = verdict.if_object();
  const json::Value* time = object != nullptr ? object->if_contains("evidenceTime") : nullptr;
  return time != nullptr && time->is_string() ? std::string(time->get_string()) : std::string();
}

// A firmware that measures an empty version (EV_S_CRTM_VERSION), as Debian's does, is known to the host all
// the same: by the package it was started from.
json::Value with_firmware(json::Value verdict, const std::string& package) {
  json::Object* object = verdict.if_object();
  if (object == nullptr || package.empty()) return verdict;
  json::Value& version = (*object)["firmwareVersion"];
  if (!version.is_string() || version.get_string().empty()) version = package;
  return verdict;
}

}  // namespace

void Vm::set_plain_verdict(std::string_view status, std::string_view code, std::string_view severity,
                           const std::string& message) {
  const Record now = record();
  if (!now.assignment.trusted() || !now.assignment.vtpm) return;
  json::Object verdict{
      {"status", status},
      {"reasons", json::Array{json::Object{{"code", code}, {"severity", severity}, {"message", message}}}}};
  if (const std::string time = evidence_time_of(now.attestation); !time.empty())
    verdict["evidenceTime"] = time;
  update([&](Record& record) { record.attestation = verdict; });
}

void Vm::begin_attestation() {
  had_verdict_ = false;
  attest_retry_ = {};
  set_plain_verdict("Pending", "AwaitingEvidence", "info",
                    "the virtual machine was started; its agent has not sent evidence yet");
}

// The agent may be silent for long: nobody waits for it who is asked for something that ends the question.
void Vm::interrupt_attestation(std::string_view why) {
  drop_timer(attest_timer_);
  close_question();
  answer_waiting(fail(ErrorCode::conflict, fmt::format("the attestation was interrupted: {}", why)));
}

void Vm::stop_attesting() {
  interrupt_attestation("the virtual machine was stopped or reset before its evidence came");
  const Record now = record();
  if (!now.attestation.is_null())
    set_plain_verdict("Unknown", "NotRunning", "info",
                      "the virtual machine does not run; a verdict is about a machine that runs");
}

// The guest decides how often its agent says hello, so hostd decides how often that means evidence and a
// verdict.
void Vm::attest_after_hello() {
  if (hello_timer_ != 0) {
    hello_again_ = true;
    return;
  }
  hello_again_ = false;
  hello_timer_ = strand_->post_after(environment_.options.hello_pause, [weak = weak_from_this()]() {
    const auto self = weak.lock();
    if (!self) return;
    self->hello_timer_ = 0;
    if (self->hello_again_) self->attest_after_hello();
  });
  if (machine()) attest_now(nullptr);
}

void Vm::attest_anew() {
  const Record now = record();
  if (!machine() || now.deleting || now.power == PowerState::stopping || !now.assignment.trusted() ||
      !now.assignment.vtpm)
    return;
  drop_timer(attest_timer_);
  close_question();
  had_verdict_ = false;
  attest_retry_ = {};
  set_plain_verdict("Pending", "AwaitingEvidence", "info",
                    "what is expected of the virtual machine has changed; it is asked for evidence anew");
  // A guest that is still booting is asked when its agent says hello; who waits for a verdict gets this one.
  if (now.boot.outcome == "Booted" || !waiting_for_verdict_.empty()) attest_now(nullptr);
}

void Vm::answer_waiting(const Result<json::Value>& answer) {
  std::vector<AttestCallback> waiting;
  waiting.swap(waiting_for_verdict_);
  for (const AttestCallback& done : waiting) done(answer);
}

void Vm::attest(std::function<void(Result<json::Value>)> done) {
  strand_->post([self = shared_from_this(), done = std::move(done)]() { self->attest_now(done); });
}

void Vm::attest_now(AttestCallback done) {
  const Record now = record();
  const auto running = machine();
  const auto refuse = [&](ErrorCode code, std::string message) {
    if (done) done(fail(code, std::move(message)));
  };
  if (!now.assignment.trusted() || !now.assignment.vtpm)
    return refuse(ErrorCode::conflict,
                  fmt::format("{} has no vTPM: there is nothing to attest with", now.assignment.name));
  if (!running)
    return refuse(ErrorCode::conflict, fmt::format("{} does not run; start it with: bootseal vm start {}",
                                                   now.assignment.name, now.assignment.name));
  if (now.deleting || now.power == PowerState::stopping)
    return refuse(ErrorCode::conflict,
                  fmt::format("{} is being {}: it is not asked for evidence any more", now.assignment.name,
                              now.deleting ? "deleted" : "stopped"));
  if (done) waiting_for_verdict_.push_back(std::move(done));
  if (asking_) return;
  drop_timer(attest_timer_);
  asking_ = true;
  ask_attestor<Challenge>([vm = id_](Attestor& attestor) { return attestor.challenge(vm); },
                          &Vm::on_challenge);
}

void Vm::close_question() {
  ++question_;
  asking_ = false;
  open_challenge_.clear();
}

template <typename T>
void Vm::ask_attestor(std::function<Result<T>(Attestor&)> ask, void (Vm::*then)(const Result<T>&)) {
  environment_.in_background([self = shared_from_this(), ask = std::move(ask), then, question = question_]() {
    Result<T> answer = ask(self->environment_.attestor);
    self->strand_->post([self, then, question, answer = std::move(answer)]() {
      if (question == self->question_) ((*self).*then)(answer);
    });
  });
}

void Vm::on_challenge(const Result<Challenge>& challenge) {
  const auto running = machine();
  if (!challenge || !running) {
    return attestation_failed(
        challenge ? Error{ErrorCode::conflict, "the virtual machine does not run any more", nullptr}
                  : challenge.error());
  }
  open_challenge_ = challenge->id;
  running->ask_agent("attest", challenge->parameters, environment_.options.evidence_limit,
                     [weak = weak_from_this(), run = run_, id = challenge->id](Result<json::Value> evidence) {
                       const auto self = weak.lock();
                       if (!self) return;
                       self->strand_->post([self, run, id, evidence = std::move(evidence)]() {
                         self->on_evidence(run, id, evidence);
                       });
                     });
}

void Vm::on_evidence(std::uint64_t run, const std::string& challenge_id,
                     const Result<json::Value>& evidence) {
  // An answer to a challenge from before a reset tells of another boot: only the open challenge counts.
  if (run != run_ || challenge_id != open_challenge_) return;
  open_challenge_.clear();
  if (!evidence) {
    set_plain_verdict("Unknown", "NoEvidence", "failure",
                      fmt::format("the guest agent gave no evidence: {}", evidence.error().describe()));
    return attestation_failed(evidence.error());
  }
  ask_attestor<json::Value>([vm = id_, challenge_id, evidence = *evidence](
                                Attestor& attestor) { return attestor.judge(vm, challenge_id, evidence); },
                            &Vm::on_verdict);
}

void Vm::on_verdict(const Result<json::Value>& verdict) {
  if (!verdict) return attestation_failed(verdict.error());
  close_question();
  const auto taken =
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - run_started_)
          .count();
  update([&](Record& record) {
    record.attestation = with_firmware(*verdict, record.firmware);
    if (!had_verdict_) record.timings.start_to_verdict_ms = taken;
  });
  had_verdict_ = true;
  attest_retry_ = {};
  log::info("vm.verdict", {{"vm", record().assignment.vm.to_string()},
                           {"status", std::string(verdict->at("status").as_string())}});
  drop_timer(attest_timer_);
  attest_timer_ = strand_->post_after(environment_.options.attest_interval, [weak = weak_from_this()]() {
    if (const auto self = weak.lock()) self->attest_now(nullptr);
  });
  answer_waiting(record().attestation);
}

// Tries again later; a verdict that grew too old in the meantime is withdrawn.
void Vm::attestation_failed(const Error& error) {
  close_question();
  const Record now = record();
  log::warning("vm.attestation_failed",
               {{"vm", now.assignment.vm.to_string()}, {"reason", error.describe()}});
  const Result<TimePoint> evidence_time = parse_time(evidence_time_of(now.attestation));
  if (had_verdict_ && evidence_time &&
      environment_.clock.now() - *evidence_time > environment_.options.attest_interval + kGrace) {
    set_plain_verdict(
        "Unknown", "EvidenceTooOld", "failure",
        fmt::format("the last evidence is too old and could not be renewed: {}", error.describe()));
  }
  attest_retry_ = attest_retry_.count() == 0 ? environment_.options.first_retry
                                             : std::min(attest_retry_ * 2, environment_.options.last_retry);
  drop_timer(attest_timer_);
  attest_timer_ = strand_->post_after(attest_retry_, [weak = weak_from_this()]() {
    if (const auto self = weak.lock()) self->attest_now(nullptr);
  });
  answer_waiting(tl::unexpected(error));
}

}  // namespace bootseal::host
