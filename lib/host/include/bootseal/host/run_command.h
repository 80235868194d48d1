// A script that the guest's agent is to run (docs/architecture.md, Run command).
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "bootseal/json/json.h"

namespace bootseal::host {

struct RunCommand {
  std::string script;
  std::string shell = "/bin/sh";
  std::vector<std::pair<std::string, std::string>> parameters;  // name, value
  std::chrono::seconds timeout{5400};
};

// Errors: invalid_argument with the path of the field.
Result<RunCommand> parse_run_command(const json::Value& value);
// The parameters of the agent's method "runCommand".
json::Value to_json(const RunCommand& command);
// {exitCode, stdout, stderr} as the agent has it: bounded and of the right kinds, or corrupt.
Result<json::Object> parse_command_result(const json::Value& value);

}  // namespace bootseal::host
