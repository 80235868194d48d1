#include "command_line.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <system_error>

#include "bootseal/cli/output.h"
#include "bootseal/cli/suggestion.h"
#include "command_tree.h"
#include "reference.h"

namespace bootseal::app {
namespace {

class CommandLine {
 public:
  int run(int argc, char** argv) {
    Status status;
    try {
      status = parse_and_run(argc, argv);
    } catch (const std::system_error& error) {
      // fmt's word for a stream that takes no more.
      status = fail(ErrorCode::io_error, fmt::format("writing the output: {}", error.code().message()));
    }
    errno = 0;
    const bool is_written = std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
    if (status && !is_written) {
      status = fail(ErrorCode::io_error, fmt::format("writing the output: {}",
                                                     std::generic_category().message(errno ? errno : EIO)));
    }
    if (status) return 0;
    const std::string line = "error: " + cli::printable(status.error().describe(), true) + "\n";
    static_cast<void>(std::fputs(line.c_str(), stderr));
    return tree_.parsed.exit_code.value_or(error_info(status.error().code).exit_code);
  }

 private:
  Status parse_and_run(int argc, char** argv) {
    try {
      tree_.app.parse(argc, argv);
    } catch (const CLI::CallForHelp&) {
      fmt::print("{}", help_of(deepest(&tree_.app)));
      return {};
    } catch (const CLI::CallForVersion& version) {
      fmt::print("{}\n", version.what());
      return {};
    } catch (const CLI::ParseError& error) {
      return fail(ErrorCode::invalid_argument, problem_with_line(error));
    }
    return tree_.parsed.run ? tree_.parsed.run() : Status();
  }

  // What is wrong with the line that was typed and where help is.
  std::string problem_with_line(const CLI::ParseError& error) const {
    const CLI::App* where = &tree_.app;
    // The first command that was given what it does not know: what follows is a consequence.
    while (where->remaining().empty() && !where->get_subcommands().empty())
      where = where->get_subcommands().front();
    const std::vector<std::string> unknown = where->remaining();
    const std::string help = fmt::format("for help run: {} --help", full_name(where));
    if (unknown.empty() && !reference_detail::children_of(*where).empty()) {
      std::string commands;
      for (const CLI::App* child : reference_detail::children_of(*where))
        commands += (commands.empty() ? "" : ", ") + child->get_name();
      return fmt::format("a command is missing; there are: {}; {}", commands, help);
    }
    if (unknown.empty()) return fmt::format("{}; {}", cli::printable(error.what()), help);
    const std::string word = cli::printable(unknown.front());
    std::vector<std::string> known;
    if (word.starts_with('-')) {
      for (const CLI::Option* option : reference_detail::options_of(*where))
        for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
    } else {
      for (const CLI::App* child : reference_detail::children_of(*where)) known.push_back(child->get_name());
      if (known.empty()) return fmt::format("unexpected argument '{}'; {}", word, help);
    }
    const auto meant = cli::nearest(word, known);
    return fmt::format("unknown {} '{}'; {}{}", word.starts_with('-') ? "option" : "command", word,
                       meant ? fmt::format("did you mean '{}'? ", *meant) : "", help);
  }

  static const CLI::App* deepest(const CLI::App* app) {
    while (!app->get_subcommands().empty()) app = app->get_subcommands().front();
    return app;
  }

  static std::string full_name(const CLI::App* app) {
    return app->get_parent() == nullptr ? app->get_name()
                                        : full_name(app->get_parent()) + " " + app->get_name();
  }

  static std::string help_of(const CLI::App* app) {
    return app->help(app->get_parent() == nullptr ? "" : full_name(app->get_parent()),
                     CLI::AppFormatMode::Normal);
  }

  CommandTree tree_;
};

}  // namespace

int run_command_line(int argc, char** argv) {
  return CommandLine().run(argc, argv);
}

}  // namespace bootseal::app
