// Tests of what an ordinary user gets: as root the running test is run again as uid 65534 in a process of its
// own.
#pragma once

#include <grp.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "bootseal/base/subprocess.h"

namespace bootseal::sandbox {

// True in the process that is an ordinary user's; otherwise that process has run, and its failure is this
// test's.
inline bool is_ordinary_user() {
  if (::geteuid() != 0) return true;
  constexpr uid_t kNobody = 65534;
  const testing::TestInfo* test = testing::UnitTest::GetInstance()->current_test_info();
  Command command;
  command.arguments = {"/proc/self/exe",
                       std::string("--gtest_filter=") + test->test_suite_name() + "." + test->name()};
  command.before_exec = []() {
    if (::setgroups(0, nullptr) != 0 || ::setresgid(kNobody, kNobody, kNobody) != 0 ||
        ::setresuid(kNobody, kNobody, kNobody) != 0)
      return errno;
    return 0;
  };
  const Result<CommandOutput> output = run_command(command);
  EXPECT_TRUE(output) << output.error().describe();
  if (output) {
    EXPECT_EQ(output->exit_code, 0) << output->standard_output << output->standard_error;
  }
  return false;
}

}  // namespace bootseal::sandbox
