// What a vTPM program does with its own process.
#include "process.h"

#include <grp.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <string>

namespace bootseal::swtpm {
namespace {

// Who may not change users stays who it is.
TEST(Process, KeepsNoGroupsOfTheUserBefore) {
  constexpr uid_t kNobody = 65534;
  const bool root = ::geteuid() == 0;
  const uid_t user = root ? kNobody : ::geteuid();
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    constexpr std::array<gid_t, 2> kGroups{4, 27};
    if (root && ::setgroups(kGroups.size(), kGroups.data()) != 0) ::_exit(100);
    if (!run_as(std::to_string(user))) ::_exit(101);
    if (::geteuid() != user) ::_exit(102);
    ::_exit(root ? ::getgroups(0, nullptr) : 0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace bootseal::swtpm
