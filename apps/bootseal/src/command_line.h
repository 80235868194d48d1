// The command line of `bootseal`: the only unit that knows CLI11.
#pragma once

namespace bootseal::app {

// Parses, runs, prints the error; returns the exit code.
int run_command_line(int argc, char** argv);

}  // namespace bootseal::app
