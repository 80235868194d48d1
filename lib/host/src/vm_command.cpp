// Scripts that the guest runs for the control plane.
#include <fmt/format.h>

#include <algorithm>

#include "bootseal/host/vm.h"
#include "bootseal/log/log.h"

namespace bootseal::host {
namespace {

constexpr std::size_t kLargestScript = 128 * 1024;
constexpr std::size_t kMostParameters = 100;
constexpr std::size_t kLargestValue = 4096;
constexpr std::uint64_t kLongest = 5400;  // seconds, as Azure
constexpr std::size_t kOutput =
    4 * 4096;  // 4096 bytes, each of which may have become a replacement character
constexpr std::chrono::seconds kGrace{15};  // beyond the script's own time

bool is_variable_name(std::string_view name) {
  const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  return !name.empty() && name.size() <= 128 && is_letter(name[0]) &&
         std::ranges::all_of(name, [&](char c) { return is_letter(c) || (c >= '0' && c <= '9'); });
}

Status parse_parameters(json::Reader& reader, RunCommand& command) {
  if (!reader.has("parameters")) return {};
  BOOTSEAL_TRY(std::vector<json::Reader> elements, reader.objects("parameters"));
  if (elements.size() > kMostParameters)
    return reader.problem("parameters", fmt::format("more than {}", kMostParameters));
  for (json::Reader& element : elements) {
    BOOTSEAL_TRY(std::string name, element.string("name"));
    BOOTSEAL_TRY(std::string text, element.string("value"));
    BOOTSEAL_TRY_STATUS(element.no_other_fields());
    if (!is_variable_name(name))
      return element.problem("name", "a name of [A-Za-z_][A-Za-z0-9_]* was expected");
    if (text.size() > kLargestValue || text.find('\0') != std::string::npos)
      return element.problem("value",
                             fmt::format("at most {} bytes, none of them 0, were expected", kLargestValue));
    command.parameters.emplace_back(std::move(name), std::move(text));
  }
  return {};
}

}  // namespace

Result<RunCommand> parse_run_command(const json::Value& value) {
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(value, "the command"));
  RunCommand command;
  BOOTSEAL_TRY(command.script, reader.string("script"));
  if (command.script.size() > kLargestScript)
    return reader.problem("script", fmt::format("more than {} bytes", kLargestScript));
  BOOTSEAL_TRY(command.shell, reader.string_or("shell", command.shell));
  if (!command.shell.starts_with('/') || command.shell.size() > 255 ||
      command.shell.find('\0') != std::string::npos)
    return reader.problem("shell", "an absolute path in the guest was expected");
  BOOTSEAL_TRY_STATUS(parse_parameters(reader, command));
  BOOTSEAL_TRY(const std::uint64_t seconds, reader.unsigned_integer_or("timeoutSeconds", kLongest));
  if (seconds == 0 || seconds > kLongest)
    return reader.problem("timeoutSeconds", fmt::format("{} is not between 1 and {}", seconds, kLongest));
  command.timeout = std::chrono::seconds(seconds);
  BOOTSEAL_TRY_STATUS(reader.no_other_fields());
  return command;
}

json::Value to_json(const RunCommand& command) {
  json::Array parameters;
  for (const auto& [name, value] : command.parameters)
    parameters.push_back(json::Object{{"name", name}, {"value", value}});
  return json::Object{{"script", command.script},
                      {"shell", command.shell},
                      {"parameters", std::move(parameters)},
                      {"timeoutSeconds", static_cast<std::uint64_t>(command.timeout.count())}};
}

Result<json::Object> parse_command_result(const json::Value& value) {
  const Result<json::Object> result = [&]() -> Result<json::Object> {
    BOOTSEAL_TRY(json::Reader reader, json::Reader::object(value, "the agent's answer"));
    BOOTSEAL_TRY(const std::int64_t code, reader.integer("exitCode"));
    BOOTSEAL_TRY(const std::string output, reader.string("stdout"));
    BOOTSEAL_TRY(const std::string errors, reader.string("stderr"));
    if (output.size() > kOutput || errors.size() > kOutput || code < 0 || code > 255)
      return reader.problem("stdout", "more than an agent gives");
    return json::Object{{"exitCode", code}, {"stdout", output}, {"stderr", errors}};
  }();
  if (!result) return fail(ErrorCode::corrupt, result.error().message);
  return result;
}

void Vm::run_command(const RunCommand& command, std::function<void(Result<json::Value>)> done) {
  strand_->post([self = shared_from_this(), command, done = std::move(done)]() {
    self->run_command_now(command, done);
  });
}

void Vm::run_command_now(const RunCommand& command, const std::function<void(Result<json::Value>)>& done) {
  const auto running = machine();
  const Record now = record();
  if (!running || is_ending())
    return done(
        fail(ErrorCode::conflict, fmt::format("{} does not run; start it first", now.assignment.name)));
  if (!now.guest)
    return done(
        fail(ErrorCode::conflict,
             fmt::format("the agent of {} has not answered since it was started: it still boots, or its "
                         "image has no bootseal-agent",
                         now.assignment.name)));
  if (command_done_)
    return done(fail(ErrorCode::conflict,
                     fmt::format("another script runs in {}; wait until it has ended", now.assignment.name)));
  command_done_ = done;
  command_started_ = environment_.clock.now();
  const std::uint64_t number = ++command_number_;
  log::info("vm.command", {{"vm", id_.to_string()}, {"bytes", command.script.size()}});
  running->ask_agent("runCommand", to_json(command), command.timeout + kGrace,
                     [weak = weak_from_this(), strand = strand_, number](const Result<json::Value>& answer) {
                       strand->post([weak, number, answer]() {
                         if (const auto self = weak.lock()) self->finish_command(number, answer);
                       });
                     });
}

void Vm::finish_command(std::uint64_t number, const Result<json::Value>& answer) {
  if (number != command_number_ || !command_done_) return;  // answered already
  const auto done = std::exchange(command_done_, nullptr);
  done([&]() -> Result<json::Value> {
    BOOTSEAL_TRY(const json::Value content, answer);
    BOOTSEAL_TRY(json::Object result, parse_command_result(content));
    result["startTime"] = format_time(command_started_);
    result["endTime"] = format_time(environment_.clock.now());
    return result;
  }());
}

void Vm::interrupt_command(std::string_view why) {
  if (const auto done = std::exchange(command_done_, nullptr))
    done(fail(ErrorCode::conflict, fmt::format("how the script in {} ended is not known: {} while it ran",
                                               record().assignment.name, why)));
}

}  // namespace bootseal::host
