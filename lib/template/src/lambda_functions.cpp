// map, filter, reduce, sort, toObject, groupBy, mapValues (learn.microsoft.com, "Lambda functions for ARM
// templates").
#include <algorithm>
#include <optional>

#include "functions.h"

namespace bootseal::templates {
namespace {

tl::unexpected<model::ArmError> refuse(const Expression& call, std::string_view why) {
  return invalid_template(
      fmt::format("Unable to evaluate template language function '{}': {}", call.text, why));
}

// lambda('a', 'b', …, body), bound to values.
class Lambda {
 public:
  static model::ArmResult<Lambda> of(Evaluator& evaluator, const Expression& call, std::size_t index,
                                     std::size_t least, std::size_t most) {
    const Expression& tree = *call.arguments[index];
    if (!is_call(tree, "lambda") || tree.arguments.empty())
      return refuse(call, fmt::format("argument {} must be a lambda() expression.", index + 1));
    Lambda lambda(evaluator, *tree.arguments.back());
    for (std::size_t i = 0; i + 1 < tree.arguments.size(); ++i) {
      if (tree.arguments[i]->kind != Expression::Kind::text)
        return refuse(call, "the parameters of a lambda() must be plain strings.");
      lambda.names_.push_back(tree.arguments[i]->text);
    }
    if (lambda.names_.size() < least || lambda.names_.size() > most) {
      return refuse(call, fmt::format("its lambda() must have {} to {} parameters, it has {}.", least, most,
                                      lambda.names_.size()));
    }
    return lambda;
  }

  // As many of the values as it has parameters.
  [[nodiscard]] Outcome call(const std::vector<json::Value>& values) const {
    auto& bound = evaluator_->lambda_variables;
    const std::size_t before = bound.size();
    for (std::size_t i = 0; i < names_.size() && i < values.size(); ++i)
      bound.emplace_back(names_[i], values[i]);
    Outcome result = evaluator_->expression(*body_);
    bound.resize(before);
    if (result) {
      const model::ArmStatus charged = evaluator_->budget().charge(*result);
      if (!charged) return tl::unexpected(charged.error());
    }
    return result;
  }

 private:
  Lambda(Evaluator& evaluator, const Expression& body) : evaluator_(&evaluator), body_(&body) {}
  Evaluator* evaluator_;
  const Expression* body_;
  std::vector<std::string> names_;
};

model::ArmResult<json::Array> array_of(Evaluator& evaluator, const Expression& call) {
  BOOTSEAL_ARM_TRY(json::Value value, evaluator.expression(*call.arguments[0]));
  if (!value.is_array())
    return refuse(call, fmt::format("argument 1 must be an array, it is {}.", kind_name(value)));
  return std::move(value.get_array());
}

model::ArmResult<bool> truth(const Expression& call, const Outcome& value) {
  if (!value) return tl::unexpected(value.error());
  if (!value->is_bool()) return refuse(call, "its lambda() must answer true or false.");
  return value->get_bool();
}

model::ArmResult<std::string> key(const Expression& call, const Outcome& value) {
  if (!value) return tl::unexpected(value.error());
  if (!value->is_string()) return refuse(call, "its lambda() must answer a string as the key.");
  return std::string(text_of(*value));
}

json::Value index_value(std::size_t index) {
  return json::Value(static_cast<std::int64_t>(index));
}

Outcome map(Evaluator& evaluator, const Expression& call) {
  BOOTSEAL_ARM_TRY(const json::Array elements, array_of(evaluator, call));
  BOOTSEAL_ARM_TRY(const Lambda lambda, Lambda::of(evaluator, call, 1, 1, 2));
  json::Array result;
  for (std::size_t i = 0; i < elements.size(); ++i) {
    BOOTSEAL_ARM_TRY(json::Value mapped, lambda.call({elements[i], index_value(i)}));
    result.push_back(std::move(mapped));
  }
  return json::Value(std::move(result));
}

Outcome filter(Evaluator& evaluator, const Expression& call) {
  BOOTSEAL_ARM_TRY(const json::Array elements, array_of(evaluator, call));
  BOOTSEAL_ARM_TRY(const Lambda lambda, Lambda::of(evaluator, call, 1, 1, 2));
  json::Array result;
  for (std::size_t i = 0; i < elements.size(); ++i) {
    BOOTSEAL_ARM_TRY(const bool kept, truth(call, lambda.call({elements[i], index_value(i)})));
    if (kept) result.push_back(elements[i]);
  }
  return json::Value(std::move(result));
}

Outcome reduce(Evaluator& evaluator, const Expression& call) {
  BOOTSEAL_ARM_TRY(const json::Array elements, array_of(evaluator, call));
  BOOTSEAL_ARM_TRY(json::Value result, evaluator.expression(*call.arguments[1]));
  BOOTSEAL_ARM_TRY(const Lambda lambda, Lambda::of(evaluator, call, 2, 2, 3));
  for (std::size_t i = 0; i < elements.size(); ++i) {
    BOOTSEAL_ARM_TRY(json::Value next, lambda.call({result, elements[i], index_value(i)}));
    result = std::move(next);
  }
  return result;
}

// A merge sort of our own: a comparison may fail, and need not be an order at all.
model::ArmResult<std::vector<json::Value>> sorted(const Expression& call, const Lambda& less,
                                                  std::vector<json::Value> values) {
  if (values.size() < 2) return values;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  BOOTSEAL_ARM_TRY(const std::vector<json::Value> low, sorted(call, less, {values.begin(), middle}));
  BOOTSEAL_ARM_TRY(const std::vector<json::Value> high, sorted(call, less, {middle, values.end()}));
  std::vector<json::Value> result;
  std::size_t i = 0;
  std::size_t j = 0;
  while (i < low.size() && j < high.size()) {
    BOOTSEAL_ARM_TRY(const bool take_high, truth(call, less.call({high[j], low[i]})));
    result.push_back(take_high ? high[j++] : low[i++]);
  }
  result.insert(result.end(), low.begin() + static_cast<std::ptrdiff_t>(i), low.end());
  result.insert(result.end(), high.begin() + static_cast<std::ptrdiff_t>(j), high.end());
  return result;
}

Outcome sort(Evaluator& evaluator, const Expression& call) {
  BOOTSEAL_ARM_TRY(const json::Array elements, array_of(evaluator, call));
  BOOTSEAL_ARM_TRY(const Lambda less, Lambda::of(evaluator, call, 1, 2, 2));
  BOOTSEAL_ARM_TRY(const std::vector<json::Value> result,
                   sorted(call, less, {elements.begin(), elements.end()}));
  return json::Value(json::Array(result.begin(), result.end()));
}

Outcome to_object(Evaluator& evaluator, const Expression& call) {
  BOOTSEAL_ARM_TRY(const json::Array elements, array_of(evaluator, call));
  BOOTSEAL_ARM_TRY(const Lambda key_of, Lambda::of(evaluator, call, 1, 1, 1));
  std::optional<Lambda> value_of;
  if (call.arguments.size() == 3) {
    BOOTSEAL_ARM_TRY(value_of, Lambda::of(evaluator, call, 2, 1, 1));
  }
  json::Object result;
  for (const json::Value& element : elements) {
    BOOTSEAL_ARM_TRY(const std::string name, key(call, key_of.call({element})));
    json::Value value = element;
    if (value_of) {
      BOOTSEAL_ARM_TRY(value, value_of->call({element}));
    }
    result[name] = std::move(value);
  }
  return json::Value(std::move(result));
}

Outcome group_by(Evaluator& evaluator, const Expression& call) {
  BOOTSEAL_ARM_TRY(const json::Array elements, array_of(evaluator, call));
  BOOTSEAL_ARM_TRY(const Lambda key_of, Lambda::of(evaluator, call, 1, 1, 1));
  json::Object result;
  for (const json::Value& element : elements) {
    BOOTSEAL_ARM_TRY(const std::string name, key(call, key_of.call({element})));
    json::Value& group = result[name];
    if (!group.is_array()) group.emplace_array();
    group.get_array().push_back(element);
  }
  return json::Value(std::move(result));
}

Outcome map_values(Evaluator& evaluator, const Expression& call) {
  BOOTSEAL_ARM_TRY(const json::Value object, evaluator.expression(*call.arguments[0]));
  if (!object.is_object())
    return refuse(call, fmt::format("argument 1 must be an object, it is {}.", kind_name(object)));
  BOOTSEAL_ARM_TRY(const Lambda lambda, Lambda::of(evaluator, call, 1, 1, 1));
  json::Object result;
  for (const auto& member : object.get_object()) {
    BOOTSEAL_ARM_TRY(json::Value mapped, lambda.call({member.value()}));
    result[member.key()] = std::move(mapped);
  }
  return json::Value(std::move(result));
}

Outcome lambda_variables(Call& call) {
  BOOTSEAL_ARM_TRY(const std::string_view name, call.text(0));
  const auto& bound = call.evaluator.lambda_variables;
  const auto found = std::find_if(bound.rbegin(), bound.rend(), [&](const auto& one) {
    return model::equal_ignoring_case(one.first, name);
  });
  if (found == bound.rend()) return call.refuse(fmt::format("there is no lambda parameter '{}' here.", name));
  return found->second;
}

Outcome misplaced_lambda(Evaluator& /*evaluator*/, const Expression& call) {
  return refuse(call,
                "it can only be an argument of filter, map, mapValues, reduce, sort, groupBy or toObject.");
}

}  // namespace

void add_lambda_functions(FunctionTable& table) {
  table["map"] = {2, 2, nullptr, map};
  table["filter"] = {2, 2, nullptr, filter};
  table["reduce"] = {3, 3, nullptr, reduce};
  table["sort"] = {2, 2, nullptr, sort};
  table["toobject"] = {2, 3, nullptr, to_object};
  table["groupby"] = {2, 2, nullptr, group_by};
  table["mapvalues"] = {2, 2, nullptr, map_values};
  table["lambda"] = {1, kAnyCount, nullptr, misplaced_lambda};
  table["lambdavariables"] = {1, 1, lambda_variables};
}

}  // namespace bootseal::templates
