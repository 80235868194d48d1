#include "bootseal/host/disk_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <thread>

#include "bootseal/host/vhd.h"
#include "fakes.h"

namespace bootseal::host::test {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t kMib = 1 << 20;

void tool(std::vector<std::string> arguments) {
  Command command;
  command.arguments = std::move(arguments);
  const Result<std::string> output = run_checked(command);
  ASSERT_TRUE(output) << output.error().describe();
}

class DiskStoreTest : public testing::Test {
 protected:
  DiskStoreTest() : paths_{folder_.path(), folder_.path() / "run", "/usr/bin", "/usr/share"} { renew(); }
  void renew() {
    store_.reset();
    store_ = std::make_unique<DiskStore>(paths_);
    const Status recovered = store_->recover();
    ASSERT_TRUE(recovered) << recovered.error().describe();
  }
  Result<json::Value> put(const DiskId& id, std::string_view text) {
    BOOTSEAL_TRY(const json::Value value, json::parse(text));
    BOOTSEAL_TRY(const DiskRequest request, parse_disk_request(value));
    return store_->put(id, request);
  }
  DiskId empty(std::uint64_t size = 8 * kMib) {
    const DiskId id = DiskId::random();
    const auto made = put(id, fmt_size(size, R"({"kind":"empty"})"));
    EXPECT_TRUE(made) << made.error().describe();
    return id;
  }
  static std::string fmt_size(std::uint64_t size, std::string_view source) {
    return R"({"sizeBytes":)" + std::to_string(size) + R"(,"source":)" + std::string(source) + "}";
  }
  [[nodiscard]] std::string state(const DiskId& id) const {
    return std::string(store_->status(id).value().at("state").as_string());
  }
  // Copies end by themselves.
  void wait_until_made(const DiskId& id) const {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (state(id) == "Creating" && std::chrono::steady_clock::now() < limit)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  [[nodiscard]] std::filesystem::path file(const DiskId& id) const { return store_->file(id).value().path; }
  void write_pattern(const DiskId& id) const {
    tool({"qemu-io", "-f", "qcow2", "-c", "write -P 0x5a 1M 64k", file(id).native()});
  }

  TemporaryFolder folder_;
  Paths paths_;
  std::unique_ptr<DiskStore> store_;
  const VmId vm_ = VmId::random();
};

TEST_F(DiskStoreTest, AnEmptyDiskIsReadyAndNobodyElsesToRead) {
  const DiskId id = empty();
  const json::Value status = store_->status(id).value();
  EXPECT_EQ(state(id), "Ready");
  EXPECT_EQ(status.at("sizeBytes").to_number<std::int64_t>(), static_cast<std::int64_t>(8 * kMib));
  EXPECT_EQ(status.at("progressPercent").to_number<std::int64_t>(), 100);
  struct stat entry {};
  ASSERT_EQ(::stat(file(id).c_str(), &entry), 0);
  EXPECT_EQ(entry.st_mode & 0777, 0600U);
  tool({"qemu-img", "check", "-q", file(id).native()});
}

TEST_F(DiskStoreTest, TheSameRequestChangesNothingAndAnotherIsRefused) {
  const DiskId id = empty();
  EXPECT_TRUE(put(id, fmt_size(8 * kMib, R"({"kind":"empty"})")));
  EXPECT_EQ(put(id, R"({"source":{"kind":"upload"}})").error().code, ErrorCode::conflict);
  EXPECT_EQ(put(DiskId::random(), "{}").error().code, ErrorCode::invalid_argument);
  for (const char* wrong : {R"({"sizeBytes":0})", R"({"sizeBytes":513})", R"({"sizeBytes":70368744177664})",
                            R"({"source":{"kind":"x"}})", R"({"source":{"kind":"image","path":"relative"}})",
                            R"({"surplus":1})", R"({"source":{"kind":"disk"}})"})
    EXPECT_EQ(put(DiskId::random(), wrong).error().code, ErrorCode::invalid_argument) << wrong;
  EXPECT_EQ(put(DiskId::random(), R"({"source":{"kind":"empty"}})").error().code,
            ErrorCode::invalid_argument);
}

TEST_F(DiskStoreTest, GrowsAndNeverShrinks) {
  const DiskId id = empty();
  write_pattern(id);
  EXPECT_EQ(put(id, R"({"sizeBytes":16777216})")->at("sizeBytes").to_number<std::int64_t>(), 16777216);
  tool({"qemu-io", "-f", "qcow2", "-c", "read -P 0x5a 1M 64k", "-c", "read -P 0 15M 1M", file(id).native()});
  const auto smaller = put(id, R"({"sizeBytes":8388608})");
  EXPECT_EQ(smaller.error().code, ErrorCode::invalid_argument);
  EXPECT_THAT(smaller.error().message, HasSubstr("not made smaller"));
}

TEST_F(DiskStoreTest, AnImageIsALayerOnOneOfTheGalleryOnly) {
  const std::filesystem::path image = paths_.images() / "base/1.0.0/disk.qcow2";
  std::filesystem::create_directories(image.parent_path());
  tool({"qemu-img", "create", "-q", "-f", "qcow2", image.native(), "4M"});
  const DiskId id = DiskId::random();
  ASSERT_TRUE(put(id, R"({"source":{"kind":"image","path":")" + image.native() + "\"}}"));
  EXPECT_EQ(store_->status(id)->at("sizeBytes").to_number<std::int64_t>(),
            static_cast<std::int64_t>(4 * kMib));
  EXPECT_EQ(store_->file(id)->image, image);
  const auto small =
      put(DiskId::random(), fmt_size(kMib, R"({"kind":"image","path":")" + image.native() + "\"}"));
  EXPECT_EQ(small.error().code, ErrorCode::invalid_argument);
  const std::filesystem::path outside = folder_.path() / "secret.qcow2";
  tool({"qemu-img", "create", "-q", "-f", "qcow2", outside.native(), "4M"});
  for (const std::string& path :
       {outside.native(), image.parent_path().native() + "/../../../secret.qcow2"}) {
    const auto refused = put(DiskId::random(), R"({"source":{"kind":"image","path":")" + path + "\"}}");
    EXPECT_FALSE(refused) << path;
  }
}

TEST_F(DiskStoreTest, ACopyIsWholeAndLargerWhenAsked) {
  const DiskId from = empty();
  write_pattern(from);
  const DiskId to = DiskId::random();
  ASSERT_TRUE(put(to, fmt_size(16 * kMib, R"({"kind":"disk","diskId":")" + from.to_string() + "\"}")));
  wait_until_made(to);
  ASSERT_EQ(state(to), "Ready") << json::serialize(*store_->status(to));
  tool({"qemu-io", "-f", "qcow2", "-c", "read -P 0x5a 1M 64k", "-c", "read -P 0 15M 1M", file(to).native()});
  EXPECT_TRUE(store_->remove(from));
  tool({"qemu-img", "check", "-q", file(to).native()});
}

TEST_F(DiskStoreTest, ACopyThatWasCutOffBeginsAgain) {
  const DiskId from = empty();
  write_pattern(from);
  const DiskId to = DiskId::random();
  // What hostd leaves when it is killed: the record, and half a file.
  std::filesystem::create_directories(paths_.home / "disks" / to.to_string());
  DiskRecord record;
  record.id = to;
  record.source = {DiskOrigin::disk, "", from};
  record.size_bytes = 8 * kMib;
  std::ofstream(paths_.home / "disks" / to.to_string() / "disk.json") << json::serialize(to_json(record));
  std::ofstream(paths_.home / "disks" / to.to_string() / "disk.qcow2.new") << "half";
  renew();
  wait_until_made(to);
  ASSERT_EQ(state(to), "Ready");
  tool({"qemu-io", "-f", "qcow2", "-c", "read -P 0x5a 1M 64k", file(to).native()});
}

TEST_F(DiskStoreTest, ACopyOfARunningDiskWhoseMomentIsOverHasFailed) {
  const DiskId id = DiskId::random();
  std::filesystem::create_directories(paths_.home / "disks" / id.to_string());
  DiskRecord record;
  record.id = id;
  record.source = {DiskOrigin::disk, "", DiskId::random()};
  record.size_bytes = 8 * kMib;
  record.live = true;
  std::ofstream(paths_.home / "disks" / id.to_string() / "disk.json") << json::serialize(to_json(record));
  renew();
  EXPECT_EQ(state(id), "Failed");
  EXPECT_THAT(json::serialize(*store_->status(id)), HasSubstr("copy it again"));
  EXPECT_TRUE(store_->remove(id));
}

TEST_F(DiskStoreTest, BelongsToOneVmAtATime) {
  const DiskId first = empty(), second = empty();
  const VmId other = VmId::random();
  ASSERT_TRUE(store_->claim(vm_, {first}));
  ASSERT_TRUE(store_->claim(vm_, {first}));
  // All or none.
  EXPECT_EQ(store_->claim(other, {second, first}).error().code, ErrorCode::conflict);
  EXPECT_FALSE(store_->status(second)->as_object().contains("attachedTo"));
  EXPECT_EQ(store_->remove(first).error().code, ErrorCode::conflict);
  renew();
  EXPECT_EQ(store_->status(first)->at("attachedTo").as_string(), vm_.to_string());
  store_->release(other, first);
  EXPECT_EQ(store_->disks_of(vm_), std::vector{first});
  store_->release(vm_, first);
  EXPECT_TRUE(store_->claim(other, {first}));
  EXPECT_EQ(store_->claim(vm_, {DiskId::random()}).error().code, ErrorCode::not_found);
}

TEST_F(DiskStoreTest, ARemovedDiskIsGoneAndRemovedAgain) {
  const DiskId id = empty();
  EXPECT_TRUE(store_->remove(id));
  EXPECT_FALSE(std::filesystem::exists(paths_.home / "disks" / id.to_string()));
  EXPECT_TRUE(store_->remove(id));
  EXPECT_EQ(store_->status(id).error().code, ErrorCode::not_found);
}

// A fixed VHD of qemu-img goes in by pieces and comes out as qemu-img reads it.
TEST_F(DiskStoreTest, AVhdGoesInAndComesOut) {
  const std::filesystem::path raw = folder_.path() / "in.raw", vhd = folder_.path() / "in.vhd";
  tool({"qemu-img", "create", "-q", "-f", "raw", raw.native(), "3M"});
  tool({"qemu-io", "-f", "raw", "-c", "write -P 0x77 2M 64k", raw.native()});
  tool({"qemu-img", "convert", "-q", "-f", "raw", "-O", "vpc", "-o", "subformat=fixed,force_size=on",
        raw.native(), vhd.native()});
  const Bytes content = read_file(vhd, 8 * kMib).value();
  ASSERT_EQ(content.size(), 3 * kMib + 512);
  const DiskId id = DiskId::random();
  ASSERT_TRUE(put(id, fmt_size(3 * kMib, R"({"kind":"upload"})")));
  EXPECT_EQ(state(id), "ActiveUpload");
  EXPECT_EQ(store_->claim(vm_, {id}).error().code, ErrorCode::conflict);
  EXPECT_EQ(store_->finish_upload(id).error().code, ErrorCode::invalid_argument);
  for (std::size_t at = 0; at < content.size(); at += kMib) {
    const ByteSpan piece = ByteSpan(content).subspan(at, std::min<std::size_t>(kMib, content.size() - at));
    ASSERT_TRUE(store_->write_content(id, at, piece));
  }
  EXPECT_EQ(store_->write_content(id, content.size(), as_bytes("x")).error().code,
            ErrorCode::invalid_argument);
  const auto finished = store_->finish_upload(id);
  ASSERT_TRUE(finished) << finished.error().describe();
  EXPECT_EQ(state(id), "Ready");
  EXPECT_EQ(std::filesystem::file_size(file(id)), 3 * kMib);
  EXPECT_EQ(store_->write_content(id, 0, as_bytes("x")).error().code, ErrorCode::conflict);
  EXPECT_TRUE(store_->finish_upload(id));

  const std::filesystem::path out = folder_.path() / "out.vhd";
  {
    std::ofstream stream(out, std::ios::binary);
    for (std::size_t at = 0; at < content.size(); at += 700'000) {
      const Bytes piece =
          store_->read_content(id, at, std::min<std::size_t>(700'000, content.size() - at)).value();
      stream << as_text(piece);
    }
  }
  tool({"qemu-img", "compare", "-q", "-f", "vpc", "-F", "raw", out.native(), raw.native()});
  EXPECT_EQ(store_->read_content(id, 3 * kMib + 512, 1).error().code, ErrorCode::invalid_argument);
}

TEST_F(DiskStoreTest, AQcow2ComesOutAsAVhdToo) {
  const DiskId id = empty(3 * kMib);
  write_pattern(id);
  const std::filesystem::path out = folder_.path() / "out.vhd";
  std::ofstream(out, std::ios::binary) << as_text(store_->read_content(id, 0, 3 * kMib + 512).value());
  tool({"qemu-img", "compare", "-q", "-f", "vpc", "-F", "qcow2", out.native(), file(id).native()});
}

TEST_F(DiskStoreTest, AFileThatNamesAnotherIsNotOpened) {
  const DiskId id = empty();
  const std::filesystem::path secret = folder_.path() / "secret";
  std::ofstream(secret) << std::string(65536, 's');
  tool({"qemu-img", "create", "-q", "-f", "qcow2", "-o", "data_file=" + secret.native() + ",data_file_raw=on",
        file(id).native(), "64k"});
  EXPECT_EQ(store_->read_content(id, 0, 512).error().code, ErrorCode::corrupt);
  EXPECT_EQ(put(id, R"({"sizeBytes":16777216})").error().code, ErrorCode::corrupt);
  // A layer below that only the header names is not looked at.
  ::unlink(file(id).c_str());
  tool({"qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", secret.native(),
        file(id).native(), "8M"});
  const Bytes content = store_->read_content(id, 0, 512).value();
  EXPECT_EQ(content, Bytes(512));
}

TEST(Vhd, FootersOfOthersAndOwnOnesAreRead) {
  const Bytes footer = make_vhd_footer(4 * kMib, Guid::random(), Clock::system().now());
  EXPECT_TRUE(check_vhd_footer(footer, 4 * kMib));
  EXPECT_FALSE(check_vhd_footer(footer, 5 * kMib));
  for (const std::size_t at : {0U, 50U, 60U, 63U, 65U, 100U}) {
    Bytes changed = footer;
    changed[at] ^= std::byte{1};
    EXPECT_EQ(check_vhd_footer(changed, 4 * kMib).error().code, ErrorCode::invalid_argument) << at;
  }
  EXPECT_FALSE(check_vhd_footer(ByteSpan(footer).first(511), 4 * kMib));
}

}  // namespace
}  // namespace bootseal::host::test
