// What is generated from the command tree: the Markdown reference and the shell completion.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace bootseal::app {

// docs/cli.md.
inline std::string markdown_reference(const CLI::App& app);
inline std::string bash_completion(const CLI::App& app);

namespace reference_detail {

inline bool is_hidden(const CLI::App& app) {
  return app.get_group().empty();
}

inline std::vector<const CLI::App*> children_of(const CLI::App& app) {
  std::vector<const CLI::App*> children;
  for (const CLI::App* child : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (!is_hidden(*child)) children.push_back(child);
  }
  return children;
}

inline std::vector<const CLI::Option*> options_of(const CLI::App& app) {
  std::vector<const CLI::Option*> options;
  for (const CLI::Option* option : app.get_options()) {
    if (!option->get_group().empty()) options.push_back(option);
  }
  return options;
}

inline std::string with_pipes_escaped(const std::string& text) {
  std::string result;
  for (const char c : text) result += c == '|' ? "\\|" : std::string(1, c);
  return result;
}

inline std::string names_of(const CLI::Option& option) {
  const std::string names = option.get_positional() ? option.get_name(true) : option.get_name(false, true);
  std::string text;
  for (std::size_t at = 0; at <= names.size();) {
    const std::size_t end = std::min(names.find(',', at), names.size());
    text += (text.empty() ? "`" : ", `") + names.substr(at, end - at);
    if (end == names.size() && !option.get_type_name().empty()) text += " " + option.get_type_name();
    text += "`";
    at = end + 1;
  }
  return text;
}

inline void append_command(const CLI::App& app, const std::string& path, std::string& text) {
  text += "\n## " + path + "\n\n" + app.get_description() + ".\n";
  if (const auto options = options_of(app); !options.empty()) {
    text += "\n| argument | |\n|---|---|\n";
    for (const CLI::Option* option : options) {
      text += "| " + with_pipes_escaped(names_of(*option)) + " | " +
              with_pipes_escaped(option->get_description()) + " |\n";
    }
  }
  if (const std::string examples = app.get_footer(); !examples.empty()) {
    text += "\n";
    for (std::size_t at = 0; at < examples.size();) {
      const std::size_t end = std::min(examples.find('\n', at), examples.size());
      const std::string line = examples.substr(at, end - at);
      if (line != "Examples:")
        text += line.empty()
                    ? "\n"
                    : "    " + line.substr(std::min(line.find_first_not_of(' '), line.size())) + "\n";
      at = end + 1;
    }
  }
  for (const CLI::App* child : children_of(app)) append_command(*child, path + " " + child->get_name(), text);
}

// Of a value that is new, so that neither words nor the names of files complete it.
inline constexpr const char* kNothing = " ";

// What completes the value of an option or argument: words, or a command whose lines are the words, in
// backquotes. Empty: the shell's own completion of file names.
inline std::string values_of(const CLI::Option& option, const std::string& path) {
  const std::string type = option.get_positional() ? option.get_name(true) : option.get_type_name();
  if (type == "FORMAT") return "json table tsv";
  if (type == "true|false") return "true false";
  if (type == "TYPE") return "TrustedLaunch Standard";
  if (type == "ALGORITHM") return "AES_GCM";
  if (type == "SHELL") return "bash";
  if (type == "IMAGE") return "`bootseal complete image`";
  if (type == "SIZE") return "`bootseal complete size`";
  if (type == "LOCATION") return "local";
  if (type == "GROUP") return "`bootseal complete group`";
  if (type == "NAME" && path == "bootseal vm create") return kNothing;
  if (type == "VM" || (type == "NAME" && path.starts_with("bootseal vm"))) return "`bootseal complete vm`";
  if (type == "NAME") return "`bootseal complete recipe`";
  return {};
}

// The words in the form of a shell assignment.
inline std::string assignment(const std::string& values) {
  if (values == kNothing) return "words=''; compopt +o default 2>/dev/null";
  if (!values.starts_with('`')) return "words='" + values + "'";
  return "words=$(" + values.substr(1, values.size() - 2) + " 2>/dev/null)";
}

inline void append_cases(const CLI::App& app, const std::string& path, std::string& text) {
  std::string words;
  std::string arguments;  // words of the positional ones
  for (const CLI::App* child : children_of(app)) words += child->get_name() + " ";
  for (const CLI::Option* option : options_of(app)) {
    const std::string values = values_of(*option, path);
    if (option->get_positional()) {
      arguments = values;
      continue;
    }
    std::string patterns;
    for (const std::string& name : option->get_lnames()) {
      words += "--" + name + " ";
      patterns.append(patterns.empty() ? "'" : " | '").append(path).append(" --").append(name).append("'");
    }
    for (const std::string& name : option->get_snames())
      patterns.append(" | '").append(path).append(" -").append(name).append("'");
    if (!option->get_type_name().empty() && option->get_expected_max() > 0)
      text +=
          "    " + patterns + ") " + (values.empty() ? "words=''" : assignment(values)) + "; kind=value ;;\n";
  }
  text += "    '" + path + " options') words='" + words + "' ;;\n";
  if (!arguments.empty()) text += "    '" + path + " arguments') " + assignment(arguments) + " ;;\n";
  for (const CLI::App* child : children_of(app)) append_cases(*child, path + " " + child->get_name(), text);
}

}  // namespace reference_detail

inline std::string markdown_reference(const CLI::App& app) {
  std::string text = "# The command line\n\nWritten by `bootseal help-markdown`; do not edit.\n\n" +
                     app.get_description() + "\n\n";
  for (const CLI::App* child : reference_detail::children_of(app))
    text += "- `" + app.get_name() + " " + child->get_name() + "`: " + child->get_description() + "\n";
  text +=
      "\n`BOOTSEAL_HOME` chooses the site's folder. Exit codes: 0 done, 1 a defect, 2 wrong input, 3 not "
      "found, 4 exists already, 5 conflict,\n"
      "6 not allowed, 7 not known, 8 cannot be reached, 9 too slow, 10 cancelled, 11 used up, 12 not "
      "possible here, 13 damaged, 14 input or\n"
      "output failed, 20 to 24 the guest state is missing, foreign, under another key, damaged, stale.\n";
  for (const CLI::App* child : reference_detail::children_of(app))
    reference_detail::append_command(*child, app.get_name() + " " + child->get_name(), text);
  return text;
}

inline std::string bash_completion(const CLI::App& app) {
  std::string cases;
  reference_detail::append_cases(app, app.get_name(), cases);
  std::string groups = "bootseal";
  for (const CLI::App* child : reference_detail::children_of(app)) {
    if (!reference_detail::children_of(*child).empty()) groups += " | 'bootseal " + child->get_name() + "'";
  }
  return "# bash completion of bootseal; made by `bootseal completion bash`\n"
         "_bootseal_words() {  # $1 = the command with 'options', 'arguments' or the name of an option\n"
         "  words='' kind=''\n"
         "  case $1 in\n" +
         cases +
         "  esac\n"
         "}\n"
         "_bootseal() {\n"
         "  local words kind path=bootseal word more current=${COMP_WORDS[COMP_CWORD]} i\n"
         "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
         "    word=${COMP_WORDS[i]}\n"
         "    case $word in -*) break ;; esac\n"
         "    case $path in " +
         groups +
         ") path=\"$path $word\" ;; esac\n"
         "  done\n"
         "  case ${COMP_WORDS[COMP_CWORD - 1]} in -*) _bootseal_words \"$path ${COMP_WORDS[COMP_CWORD - "
         "1]}\" ;; *) words='' kind='' ;; esac\n"
         "  if [[ -z $kind ]]; then\n"
         "    _bootseal_words \"$path options\"\n"
         "    more=$words\n"
         "    case $current in -*) words='' ;; *) _bootseal_words \"$path arguments\" ;; esac\n"
         "    words=\"$more $words\"\n"
         "  fi\n"
         "  mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\")\n"
         "}\n"
         "complete -o default -F _bootseal bootseal\n";
}

}  // namespace bootseal::app
