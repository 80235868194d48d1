// Errors as Azure Resource Manager shows them: {"error":{"code","message","target"?,"details"?}}.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "bootseal/base/result.h"
#include "bootseal/json/json.h"

namespace bootseal::model {

struct ArmError {
  int status = 400;     // HTTP
  std::string code;     // "InvalidParameter"
  std::string message;  // what is wrong, where, and what to do
  std::string target;   // the field or parameter, when there is one
  std::vector<ArmError> details;

  // {"code","message","target"?,"details"?}, as it stands in an operation.
  [[nodiscard]] json::Object to_json() const;
  // {"error":{…}}, as it stands in an answer.
  [[nodiscard]] json::Object to_body() const;
};

template <typename T>
using ArmResult = tl::expected<T, ArmError>;
using ArmStatus = ArmResult<void>;

[[nodiscard]] tl::unexpected<ArmError> refuse(int status, std::string code, std::string message,
                                              std::string target = {});
// 400 InvalidParameter.
[[nodiscard]] tl::unexpected<ArmError> invalid_parameter(std::string target, std::string message);

// The status and wire name of the error's row, and the messages of all causes.
ArmError to_arm_error(const Error& error);
inline ArmError to_arm_error(ArmError error) {
  return error;
}
// invalid_argument for 400 and so on; the reverse of the above as far as the wire allows.
Error from_arm_error(const ArmError& error);

// The date in `api-version`: "2022-08-01" or "2022-08-01-preview". Clients of every age mix dozens of dates,
// so any well-formed one is taken. 400 MissingApiVersionParameter for an empty text, 400
// InvalidApiVersionParameter for a malformed one.
ArmStatus check_api_version(std::string_view text);

}  // namespace bootseal::model

// BOOTSEAL_ARM_TRY(auto value, expression): like BOOTSEAL_TRY in a function that returns ArmResult; takes
// Result and ArmResult.
#define BOOTSEAL_ARM_TRY(declaration, expression) \
  BOOTSEAL_ARM_TRY_INNER(BOOTSEAL_CONCAT(bootseal_arm_result_, __LINE__), declaration, expression)
#define BOOTSEAL_ARM_TRY_INNER(temporary, declaration, expression)      \
  auto temporary = (expression);                                        \
  if (!temporary)                                                       \
    return ::tl::unexpected<::bootseal::model::ArmError>(               \
        ::bootseal::model::to_arm_error(std::move(temporary).error())); \
  declaration = *std::move(temporary)
#define BOOTSEAL_ARM_TRY_STATUS(expression)                                         \
  do {                                                                              \
    auto bootseal_arm_status = (expression);                                        \
    if (!bootseal_arm_status)                                                       \
      return ::tl::unexpected<::bootseal::model::ArmError>(                         \
          ::bootseal::model::to_arm_error(std::move(bootseal_arm_status).error())); \
  } while (false)
