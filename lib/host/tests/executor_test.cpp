#include "bootseal/host/executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <future>

#include "fakes.h"
#include "process_watch.h"

namespace bootseal::host {
namespace {

using std::chrono::milliseconds;

TEST(EventLoop, RunsTasksInOrderAndTimersByTheirTime) {
  const auto loop = EventLoop::start().value();
  std::vector<int> order;
  std::promise<void> done;
  loop->post_after(milliseconds(60), [&]() { done.set_value(); });
  loop->post_after(milliseconds(40), [&]() { order.push_back(3); });
  const TimerId never = loop->post_after(milliseconds(20), [&]() { order.push_back(99); });
  loop->post([&]() { order.push_back(1); });
  loop->post([&]() { order.push_back(2); });
  loop->cancel(never);
  done.get_future().wait();
  EXPECT_THAT(order, testing::ElementsAre(1, 2, 3));
}

TEST(EventLoop, TellsOfADescriptorUntilItIsForgotten) {
  const auto loop = EventLoop::start().value();
  Pipe pipe = make_pipe().value();
  std::promise<void> seen;
  std::atomic<int> times{0};
  loop->run([&]() {
    ASSERT_TRUE(loop->watch(pipe.read_end.get(), 1 /* EPOLLIN */, [&](std::uint32_t) {
      ++times;
      loop->forget(pipe.read_end.get());
      seen.set_value();
    }));
  });
  ASSERT_TRUE(write_all(pipe.write_end.get(), as_bytes("x")));
  seen.get_future().wait();
  loop->run([]() {});
  EXPECT_EQ(times, 1);
}

TEST(Strand, NeverRunsTwoTasksAtOnceAndKeepsTheirOrder) {
  const auto loop = EventLoop::start().value();
  WorkerPool pool(4);
  const auto strand = Strand::create(*loop, pool);
  std::atomic<int> inside{0};
  std::vector<int> order;
  std::promise<void> done;
  for (int i = 0; i < 1000; ++i) {
    strand->post([&, i]() {
      EXPECT_EQ(inside.fetch_add(1), 0);
      order.push_back(i);
      inside.fetch_sub(1);
      if (i == 999) done.set_value();
    });
  }
  done.get_future().wait();
  EXPECT_TRUE(std::ranges::is_sorted(order));
  EXPECT_EQ(order.size(), 1000U);
}

TEST(Strand, OneBlockedStrandDoesNotHoldUpAnother) {
  const auto loop = EventLoop::start().value();
  WorkerPool pool(2);
  const auto one = Strand::create(*loop, pool), two = Strand::create(*loop, pool);
  std::promise<void> release, passed;
  one->post([future = release.get_future().share()]() { future.wait(); });
  two->post([&]() { passed.set_value(); });
  passed.get_future().wait();
  release.set_value();
}

TEST(Strand, ATimerRunsOnIt) {
  const auto loop = EventLoop::start().value();
  WorkerPool pool(2);
  const auto strand = Strand::create(*loop, pool);
  std::promise<bool> on_loop;
  strand->post_after(milliseconds(5), [&]() { on_loop.set_value(loop->on_loop_thread()); });
  EXPECT_FALSE(on_loop.get_future().get());
}

TEST(ProcessWatch, TellsOnceOfAnEnd) {
  const auto loop = EventLoop::start().value();
  test::IdleProcess process;
  std::promise<void> ended;
  const auto watch = ProcessWatch::start(*loop, process.identity(), [&]() { ended.set_value(); }).value();
  ASSERT_TRUE(signal_process(process.identity(), SIGKILL));
  ended.get_future().wait();
  EXPECT_FALSE(process.alive());
}

TEST(ProcessWatch, TellsOfAProcessThatHadEndedBefore) {
  const auto loop = EventLoop::start().value();
  test::IdleProcess process;
  process.end();
  std::promise<void> ended;
  const auto watch = ProcessWatch::start(*loop, process.identity(), [&]() { ended.set_value(); }).value();
  ended.get_future().wait();
}

TEST(ProcessWatch, AWatchThatIsGoneTellsNothing) {
  const auto loop = EventLoop::start().value();
  test::IdleProcess process;
  std::atomic<bool> told{false};
  ProcessWatch::start(*loop, process.identity(), [&]() { told = true; }).value().reset();
  process.end();
  loop->run([]() {});
  EXPECT_FALSE(told);
}

}  // namespace
}  // namespace bootseal::host
