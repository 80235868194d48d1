#include "bootseal/base/subprocess.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>

namespace bootseal {
namespace {

Command shell(std::string script) {
  return Command{.arguments = {"/bin/sh", "-c", std::move(script)}};
}

TEST(RunCommand, CollectsOutputsAndExitCode) {
  const auto output = run_command(shell("cat; echo problem >&2; exit 3"), as_bytes("input"));
  ASSERT_TRUE(output);
  EXPECT_EQ(output->exit_code, 3);
  EXPECT_EQ(output->standard_output, "input");
  EXPECT_EQ(output->standard_error, "problem\n");
}

TEST(RunCommand, PassesLargeInputThroughAPipe) {
  const std::string input(1 << 20, 'x');
  const auto output = run_command(Command{.arguments = {"cat"}}, as_bytes(input));
  ASSERT_TRUE(output);
  EXPECT_EQ(output->standard_output.size(), input.size());
}

TEST(RunCommand, SurvivesAChildThatDoesNotReadItsInput) {
  const std::string input(1 << 20, 'x');
  EXPECT_EQ(run_command(shell("exit 0"), as_bytes(input))->exit_code, 0);
}

TEST(RunCommand, EndsTheProgramAtTheTimeLimit) {
  const auto output = run_command(shell("exec sleep 1000"), {}, std::chrono::milliseconds(20));
  ASSERT_FALSE(output);
  EXPECT_EQ(output.error().code, ErrorCode::timeout);
}

TEST(RunCommand, EndsTheProgramOnRequest) {
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(run_command(shell("exec sleep 1000"), {}, std::nullopt, stop.get_token()).error().code,
            ErrorCode::cancelled);
}

TEST(RunCommand, EndsAllOfASessionOnRequestAfterItHasClearedUp) {
  std::stop_source stop;
  std::string grandchild;
  const auto output = run_command(
      Command{
          .arguments = {"/bin/bash", "-c", "trap 'echo cleared >&2' EXIT; sleep 1000 & echo $! >&2; wait"},
          .new_session = true},
      {}, std::nullopt, stop.get_token(), [&](std::string_view line) {
        grandchild = line;
        stop.request_stop();
      });
  ASSERT_FALSE(output);
  EXPECT_EQ(output.error().code, ErrorCode::cancelled);
  ASSERT_FALSE(grandchild.empty());
  const auto left = identify_process(std::stoi(grandchild));
  EXPECT_TRUE(!left || wait_for_end(*left, std::chrono::seconds(10)).value_or(false));
}

TEST(RunChecked, SaysWhatTheProgramSaid) {
  const auto output = run_checked(shell("echo 'no such image' >&2; exit 2"));
  ASSERT_FALSE(output);
  EXPECT_NE(output.error().message.find("no such image"), std::string::npos);
}

TEST(Spawn, FailsWhenTheProgramDoesNotExist) {
  const auto process = spawn(Command{.arguments = {"/no/such/program"}});
  ASSERT_FALSE(process);
  EXPECT_EQ(process.error().code, ErrorCode::not_found);
}

TEST(Spawn, PassesOnlyTheDescriptorsAskedFor) {
  Pipe out = *make_pipe();
  Command command = shell("ls /proc/self/fd | tr '\\n' ' ' >&7");
  command.fds = {{7, out.write_end.get()}, {1, out.write_end.get()}};
  const auto process = spawn(command);
  ASSERT_TRUE(process);
  out.write_end.reset();
  const Bytes listing = *read_to_end(out.read_end.get(), 1000);
  EXPECT_TRUE(*wait_for_end(*process, std::nullopt));
  // `ls` holds 0, 1, 2, 7 and the folder it lists (3).
  EXPECT_EQ(as_text(listing), "0 1 2 3 7 ");
}

TEST(Spawn, RunsAnOpenProgramWithoutItsPathAndLeavesItClosed) {
  const UniqueFd program = *open_file("/bin/ls", O_PATH);
  Pipe out = *make_pipe();
  Command command{.arguments = {"/not/there/ls", "/proc/self/fd"}};
  command.program_fd = program.get();
  command.fds = {{1, out.write_end.get()}};
  const auto process = spawn(command);
  ASSERT_TRUE(process);
  out.write_end.reset();
  EXPECT_EQ(as_text(*read_to_end(out.read_end.get(), 1000)), "0\n1\n2\n3\n");
  EXPECT_TRUE(*wait_for_end(*process, std::nullopt));
}

TEST(Spawn, EnvironmentIsExactlyTheOneGiven) {
  Command command{.arguments = {"/usr/bin/env"}, .environment = {{{"ONLY", "this"}}}};
  EXPECT_EQ(*run_checked(command), "ONLY=this\n");
}

TEST(Process, IsKnownByPidAndStartTime) {
  const auto self = identify_process(::getpid());
  ASSERT_TRUE(self);
  EXPECT_TRUE(is_running(*self));
  EXPECT_FALSE(is_running(ProcessIdentity{self->pid, self->start_time_ticks + 1}));
  EXPECT_EQ(open_process(ProcessIdentity{self->pid, self->start_time_ticks + 1}).error().code,
            ErrorCode::not_found);
}

TEST(Process, SignalEndsItAndTheEndIsSeen) {
  const auto process = spawn(Command{.arguments = {"sleep", "1000"}});
  ASSERT_TRUE(process);
  EXPECT_FALSE(*wait_for_end(*process, std::chrono::milliseconds(1)));
  ASSERT_TRUE(signal_process(*process, SIGKILL));
  EXPECT_TRUE(*wait_for_end(*process, std::nullopt));
  EXPECT_FALSE(is_running(*process));
  EXPECT_TRUE(signal_process(*process, SIGKILL));
}

}  // namespace
}  // namespace bootseal
