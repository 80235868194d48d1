// What grub measures beside programs: the files it reads, its commands, the kernel's command line.
#include <fmt/format.h>

#include <algorithm>

#include "bootseal/gallery/image.h"
#include "fields.h"

namespace bootseal::gallery {
namespace {

constexpr std::array<std::string_view, 3> kFileRoles = {"grubConfig", "kernel", "initrd"};
constexpr std::size_t kMaximumFiles = 32;
constexpr std::size_t kMaximumCommands = 1024;
constexpr std::size_t kMaximumCommand = 4096;  // bytes
constexpr std::string_view kLinux = "linux ";

// Words that grub's shell does not run as a command of that name.
constexpr std::array<std::string_view, 11> kReserved = {"if", "then",  "else", "elif",     "fi",   "for",
                                                        "do", "while", "done", "function", "until"};

// The words of a line in one form; corrupt text for anything that grub would expand, quote or branch on.
Result<std::string> plain_command(std::string_view line) {
  std::string command;
  std::size_t at = 0;
  while ((at = line.find_first_not_of(" \t\r", at)) != std::string_view::npos) {
    const std::size_t end = std::min(line.find_first_of(" \t\r", at), line.size());
    const std::string_view word = line.substr(at, end - at);
    if (word.front() == '#') break;
    command += fmt::format("{}{}", command.empty() ? "" : " ", word);
    at = end;
  }
  const std::string_view first = std::string_view(command).substr(0, command.find(' '));
  const bool plain =
      command.find_first_of("$\"'\\{}();|&<>*?") == std::string::npos && command.size() <= kMaximumCommand &&
      std::ranges::find(kReserved, first) == kReserved.end() && first.find('=') == std::string_view::npos &&
      std::ranges::all_of(command, [](char c) { return c >= 0x20 && c < 0x7f; });
  if (!plain) {
    return fail(ErrorCode::unsupported,
                fmt::format("'{}' is more than one plain command, so what grub will measure cannot be told",
                            command.substr(0, 64)));
  }
  return command;
}

Result<MeasuredFile> read_file_entry(json::Reader& reader) {
  MeasuredFile file;
  BOOTSEAL_TRY(file.role, reader.string("role"));
  if (std::ranges::find(kFileRoles, file.role) == kFileRoles.end())
    return reader.problem("role", "wanted 'grubConfig', 'kernel' or 'initrd'");
  BOOTSEAL_TRY(file.file, reader.string("file"));
  BOOTSEAL_TRY(file.sha256, read_digest(reader, "sha256"));
  BOOTSEAL_TRY_STATUS(reader.no_other_fields());
  return file;
}

}  // namespace

Status read_grub_config(std::string_view text, MeasuredBoot& measured) {
  measured.commands.clear();
  measured.kernel_command_line.clear();
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    BOOTSEAL_TRY(std::string command, plain_command(text.substr(0, end)));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (command.empty()) continue;
    if (command.starts_with(kLinux)) measured.kernel_command_line = command.substr(kLinux.size());
    measured.commands.push_back(std::move(command));
  }
  if (measured.kernel_command_line.empty())
    return fail(ErrorCode::unsupported, "the configuration of grub has no command 'linux'");
  return {};
}

json::Object measured_boot_to_json(const MeasuredBoot& measured) {
  json::Array files;
  for (const MeasuredFile& file : measured.files) {
    files.push_back({{"role", file.role}, {"file", file.file}, {"sha256", file.sha256.to_hex()}});
  }
  json::Object object;
  object["immutable"] = measured.immutable;
  object["files"] = std::move(files);
  object["commands"] = json::Array(measured.commands.begin(), measured.commands.end());
  object["kernelCommandLine"] = measured.kernel_command_line;
  return object;
}

Result<MeasuredBoot> measured_boot_from_json(json::Reader& reader) {
  MeasuredBoot measured;
  BOOTSEAL_TRY(measured.immutable, reader.boolean("immutable"));
  BOOTSEAL_TRY(std::vector<json::Reader> files, reader.objects("files"));
  if (files.size() > kMaximumFiles)
    return reader.problem("files", fmt::format("wanted at most {}", kMaximumFiles));
  for (json::Reader& each : files) {
    BOOTSEAL_TRY(MeasuredFile file, read_file_entry(each));
    measured.files.push_back(std::move(file));
  }
  BOOTSEAL_TRY(measured.commands, reader.strings("commands"));
  const bool short_enough = std::ranges::all_of(
      measured.commands, [](const std::string& command) { return command.size() <= kMaximumCommand; });
  if (measured.commands.size() > kMaximumCommands || !short_enough) {
    return reader.problem(
        "commands", fmt::format("wanted at most {} of at most {} bytes", kMaximumCommands, kMaximumCommand));
  }
  BOOTSEAL_TRY(measured.kernel_command_line, reader.string("kernelCommandLine"));
  if (measured.kernel_command_line.size() > kMaximumCommand)
    return reader.problem("kernelCommandLine", fmt::format("wanted at most {} bytes", kMaximumCommand));
  BOOTSEAL_TRY_STATUS(reader.no_other_fields());
  return measured;
}

}  // namespace bootseal::gallery
