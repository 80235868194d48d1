// JSON with limits, and a reader that names the place of every mistake.
//
//   BOOTSEAL_TRY(const json::Value document, json::parse(text));
//   BOOTSEAL_TRY(json::Reader reader, json::Reader::object(document, "the placement"));
//   BOOTSEAL_TRY(const std::string host, reader.string("hostId"));
//   BOOTSEAL_TRY(const std::uint64_t epoch, reader.unsigned_integer("epoch"));
//   BOOTSEAL_TRY_STATUS(reader.no_other_fields());
#pragma once

#include <boost/json/value.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "bootseal/base/bytes.h"
#include "bootseal/base/result.h"

namespace bootseal::json {

using Value = boost::json::value;
using Object = boost::json::object;
using Array = boost::json::array;

struct Limits {
  std::size_t bytes = std::size_t{4} << 20;
  std::size_t depth = 32;
};

// The whole text is one JSON value (RFC 8259, UTF-8 checked, duplicate keys: the last wins); invalid_argument
// with the offset otherwise, exhausted past a limit.
Result<Value> parse(std::string_view text, const Limits& limits = {});
// Compact text, object members in their order.
std::string serialize(const Value& value);
// Two blanks of indentation, ends with a new line.
std::string serialize_pretty(const Value& value);

// Reads the fields of one object. Each error is invalid_argument and says the path of the field, what was
// wanted and what is there. `value` must outlive the reader.
class Reader {
 public:
  // `name` is what the object is called in messages ("the placement"). invalid_argument when `value` is no
  // object.
  static Result<Reader> object(const Value& value, std::string name);

  [[nodiscard]] bool has(std::string_view field) const;  // present and not null
  Result<std::string> string(std::string_view field);
  Result<std::uint64_t> unsigned_integer(std::string_view field);
  Result<std::int64_t> integer(std::string_view field);
  Result<bool> boolean(std::string_view field);
  Result<Reader> object(std::string_view field);
  // The elements; every one is an object.
  Result<std::vector<Reader>> objects(std::string_view field);
  Result<std::vector<std::string>> strings(std::string_view field);
  Result<Bytes> base64(std::string_view field);
  // Whatever is there.
  Result<const Value*> value(std::string_view field);

  // The same, with a default for a field that is absent or null.
  Result<std::string> string_or(std::string_view field, std::string fallback);
  Result<std::uint64_t> unsigned_integer_or(std::string_view field, std::uint64_t fallback);
  Result<bool> boolean_or(std::string_view field, bool fallback);
  Result<std::optional<Reader>> optional_object(std::string_view field);
  Result<std::optional<std::string>> optional_string(std::string_view field);

  // invalid_argument naming the first field that nobody asked for.
  Status no_other_fields() const;
  // invalid_argument: "PATH: message".
  [[nodiscard]] tl::unexpected<Error> problem(std::string_view field, std::string_view message) const;
  [[nodiscard]] const Value& raw() const { return *value_; }

 private:
  Reader(const Value& value, std::string path) : value_(&value), path_(std::move(path)) {}
  Result<const Value*> wanted(std::string_view field, std::string_view kind);

  const Value* value_;
  std::string path_;
  std::set<std::string, std::less<>> asked_;
};

}  // namespace bootseal::json
