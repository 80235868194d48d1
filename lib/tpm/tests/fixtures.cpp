#include "fixtures.h"

#include <zlib.h>

#include <boost/json/value.hpp>

#include "bootseal/base/fds.h"

namespace bootseal::tpm::testing {
namespace {

constexpr std::size_t kMaximumFixture = std::size_t{4} << 20;

json::Value parse_fixture(const std::string& name) {
  const Bytes text = fixture(name);
  auto value = json::parse(as_text(text));
  BOOTSEAL_CHECK(value.has_value());
  return *std::move(value);
}

}  // namespace

Bytes fixture(const std::string& name) {
  const std::string path = std::string(BOOTSEAL_SOURCE_DIR) + "/lib/tpm/tests/data/" + name;
  if (!name.ends_with(".gz")) {
    auto content = read_file(path, kMaximumFixture);
    BOOTSEAL_CHECK(content.has_value());
    return *std::move(content);
  }
  gzFile file = gzopen(path.c_str(), "rb");
  BOOTSEAL_CHECK(file != nullptr);
  Bytes content(kMaximumFixture);
  const int size = gzread(file, content.data(), static_cast<unsigned>(content.size()));
  BOOTSEAL_CHECK(size >= 0);
  gzclose(file);
  content.resize(static_cast<std::size_t>(size));
  return content;
}

const json::Value& manifest() {
  static const json::Value value = parse_fixture("manifest.json.gz");
  return value;
}

const json::Value& vm_runs() {
  static const json::Value value = parse_fixture("vm-logs/expected.json");
  return value;
}

const json::Object& quote_entry(const std::string& name) {
  for (const json::Value& quote : manifest().at("quotes").as_array()) {
    if (quote.at("name").as_string() == name) return quote.as_object();
  }
  check_failed("a quote of this name", __FILE__, __LINE__);
}

}  // namespace bootseal::tpm::testing
