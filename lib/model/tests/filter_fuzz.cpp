// $filter as clients send it.
#include <cstddef>
#include <cstdint>

#include "bootseal/model/filter.h"

namespace {

class Subject final : public bootseal::model::Filter::Subject {
 public:
  std::string member(std::string_view name) const override { return std::string(name); }
  bool has_tag(std::string_view name, const std::string* value) const override {
    return value == nullptr || name.size() < value->size();
  }
  bool call(std::string_view /*function*/, const std::vector<std::string>& arguments) const override {
    return arguments.empty();
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bootseal;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::vector<std::string_view> members = {"name", "resourceType", "tagName", "tagValue"};
  const auto filter = model::Filter::parse(text, members, {"atScope"});
  if (!filter) return 0;
  const std::string written = filter->to_string();
  const bool matches = filter->matches(Subject());
  if (written.size() > 2048) return 0;  // longer than it may be sent
  const auto again = model::Filter::parse(written, members, {"atScope"});
  if (!again) {
    // Its parentheses may nest deeper than those it was written with.
    BOOTSEAL_CHECK(again.error().message.find("nested too deeply") != std::string::npos);
    return 0;
  }
  BOOTSEAL_CHECK(again->matches(Subject()) == matches);
  return 0;
}
