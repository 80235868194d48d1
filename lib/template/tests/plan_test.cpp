#include "bootseal/template/plan.h"

#include <fstream>
#include <random>

#include "bootseal/template/unique.h"
#include "bootseal/template/what_if.h"
#include "support.h"

namespace bootseal::templates {
namespace {

const std::string kGroup = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg1";

PlanInput input_of(std::string_view text, std::string_view parameters = "{}") {
  PlanInput input;
  const auto document = read_tolerant_json(text);
  EXPECT_TRUE(document) << (document ? "" : document.error().message);
  input.document = document.value_or(json::Value());
  input.parameters = parse_json(parameters).get_object();
  input.surroundings = test_surroundings();
  input.where = [copy = std::string(text)](std::string_view path) { return locate(copy, path); };
  return input;
}
model::ArmResult<std::unique_ptr<Plan>> plan_of(std::string_view text, std::string_view parameters = "{}") {
  return Plan::create(input_of(text, parameters));
}
// A template with these sections.
std::string with(std::string_view resources, std::string_view sections = "") {
  return "{\"$schema\":\"https://schema.management.azure.com/schemas/2019-04-01/"
         "deploymentTemplate.json#\",\"contentVersion\":"
         "\"1.0.0.0\"," +
         std::string(sections) + "\"resources\":" + std::string(resources) + "}";
}
std::string error_of(const std::string& text, std::string_view parameters = "{}") {
  const auto plan = plan_of(text, parameters);
  if (plan) return "no error";
  EXPECT_EQ(plan.error().status, 400);
  return plan.error().code + ": " + plan.error().message;
}
std::unique_ptr<Plan> good(const std::string& text, std::string_view parameters = "{}") {
  auto plan = plan_of(text, parameters);
  EXPECT_TRUE(plan) << (plan ? "" : plan.error().message);
  return plan ? *std::move(plan) : nullptr;
}
// The names in the order they are made.
std::string order_of(const Plan& plan) {
  std::string result;
  for (const std::size_t index : plan.order())
    result += (result.empty() ? "" : " ") + plan.resources()[index].name;
  return result;
}
std::string resource(std::string_view name, std::string_view more = "") {
  return "{\"type\":\"Site.Test/things\",\"apiVersion\":\"2022-01-01\",\"name\":\"" + std::string(name) +
         "\"" + std::string(more) + "}";
}
std::string after(std::string_view names) {
  return ",\"dependsOn\":[" + std::string(names) + "]";
}

class NoRuntime final : public Runtime {
 public:
  model::ArmResult<json::Value> resource(const std::string& id, const std::string& api_version) override {
    return json::Value(
        json::Object{{"id", id}, {"properties", json::Object{{"asked", id + "@" + api_version}}}});
  }
  model::ArmResult<json::Value> list(const std::string&, const std::string&, const std::string&,
                                     const json::Value&) override {
    return model::refuse(400, "InvalidTemplate", "nothing to list");
  }
  model::ArmResult<json::Value> provider(const std::string&, const std::string&) override {
    return json::Value();
  }
};

TEST(Plan, OfARecordedAzDeploymentHasItsNetwork) {
  std::ifstream file(std::string(BOOTSEAL_SOURCE_DIR) +
                     "/lib/template/tests/data/az-deployment-group-create.json");
  const json::Value recorded = parse_json(std::string(std::istreambuf_iterator<char>(file), {}));
  const std::string text(recorded.at("requests").as_array()[1].at("body_text").as_string());
  const auto body = read_tolerant_json(text);
  ASSERT_TRUE(body) << body.error().message;
  PlanInput input;
  input.document = body->at("properties").at("template");
  input.parameters = body->at("properties").at("parameters").as_object();
  input.surroundings = test_surroundings();
  const auto plan = Plan::create(std::move(input));
  ASSERT_TRUE(plan) << plan.error().message;
  ASSERT_EQ((*plan)->resources().size(), 1U);
  EXPECT_EQ((*plan)->resources()[0].id, kGroup + "/providers/Microsoft.Network/virtualNetworks/vt");
  NoRuntime runtime;
  EXPECT_EQ(json::Value(*(*plan)->body(0, runtime)),
            parse_json(
                R"({"location":"local","properties":{"addressSpace":{"addressPrefixes":["10.9.0.0/16"]}}})"));
  EXPECT_EQ(json::Value(*(*plan)->outputs(runtime)), parse_json(R"({"n":{"type":"String","value":"vt"}})"));
  EXPECT_EQ(json::Value((*plan)->shown_parameters()),
            parse_json(R"({"name":{"type":"String","value":"vt"}})"));
  EXPECT_EQ(
      json::Value((*plan)->providers()),
      parse_json(
          R"([{"namespace":"Microsoft.Network","resourceTypes":[{"resourceType":"virtualNetworks","locations":["local"]}]}])"));
}

TEST(Plan, OfAzVmCreateFollowsDependsOnInAnyCaseAndHidesThePassword) {
  std::ifstream file(std::string(BOOTSEAL_SOURCE_DIR) +
                     "/lib/template/tests/data/az-vm-create-windows-password.json");
  const json::Value recorded = parse_json(std::string(std::istreambuf_iterator<char>(file), {}));
  json::Value properties;
  for (const json::Value& request : recorded.at("requests").as_array())
    if (request.at("method").as_string() == "PUT") properties = request.at("body").at("properties");
  PlanInput input;
  input.document = properties.at("template");
  input.parameters = properties.at("parameters").as_object();
  input.surroundings = test_surroundings();
  const auto plan = Plan::create(std::move(input));
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(order_of(**plan), "vm4NSG vm4PublicIP vm4VMNic vm4");
  NoRuntime runtime;
  EXPECT_EQ((*plan)->body(3, runtime)->at("properties").at("osProfile").at("adminPassword"),
            json::Value("<password>"));
  EXPECT_EQ(json::Value((*plan)->shown_parameters()),
            parse_json(R"({"adminPassword":{"type":"SecureString"}})"));
  EXPECT_EQ((*plan)->dependencies().size(), 2U);
}

TEST(Plan, KnowsADependencyByAnyOfItsNames) {
  for (const std::string name : {"a", "A", "Site.Test/things/a", "site.test/THINGS/a",
                                 "[resourceId('Site.Test/things', 'a')]", "loop"}) {
    const std::string first =
        name == "loop" ? resource("a", R"(,"copy":{"name":"loop","count":1})") : resource("a");
    const auto plan = good(with("[" + resource("b", after("\"" + name + "\"")) + "," + first + "]"));
    ASSERT_TRUE(plan) << name;
    EXPECT_EQ(order_of(*plan), "a b") << name;
  }
}

TEST(Plan, SaysWhatIsWrongWithDependencies) {
  EXPECT_EQ(
      error_of(with("[" + resource("a", after("\"x\"")) + "]")),
      "InvalidTemplate: Deployment template validation failed: 'The resource 'x' is not defined in the "
      "template, but 'a' at "
      "line '1' and column '134' depends on it. Please see https://aka.ms/arm-syntax for usage details.'.");
  EXPECT_EQ(error_of(with("[" + resource("a", after("\"c\"")) + "," + resource("b", after("\"a\"")) + "," +
                          resource("c", after("\"b\"")) + "]")),
            "InvalidTemplate: Deployment template validation failed: 'Circular dependency detected on "
            "resource: Site.Test/things/a "
            "-> Site.Test/things/c -> Site.Test/things/b -> Site.Test/things/a. Please see "
            "https://aka.ms/arm-syntax-resources for usage details.'.");
  EXPECT_NE(error_of(with("[" + resource("a") + "," + resource("A") + "]"))
                .find("is defined multiple times in a template"),
            std::string::npos);
  EXPECT_NE(error_of(with("[" + resource("a", after("\"a\"")) + "]")).find("depends on itself"),
            std::string::npos);
}

TEST(Plan, MakesCopiesInParallelOrInBatches) {
  const auto plan = good(with("[" +
                              resource("[concat('a', copyIndex())]",
                                       R"(,"copy":{"name":"c","count":5,"mode":"Serial","batchSize":2})") +
                              "," + resource("z", after("\"c\"")) + "]"));
  ASSERT_TRUE(plan);
  ASSERT_EQ(plan->resources().size(), 6U);
  EXPECT_EQ(plan->resources()[1].depends_on, std::vector<std::size_t>());
  EXPECT_EQ(plan->resources()[2].depends_on, (std::vector<std::size_t>{0, 1}));
  EXPECT_EQ(plan->resources()[4].depends_on, (std::vector<std::size_t>{2, 3}));
  EXPECT_EQ(plan->resources()[5].depends_on, (std::vector<std::size_t>{0, 1, 2, 3, 4}));
  const auto none =
      good(with("[" + resource("[concat('a', copyIndex())]", R"(,"copy":{"name":"c","count":0})") + "," +
                resource("z", after("\"c\"")) + "]"));
  EXPECT_EQ(order_of(*none), "z");
  EXPECT_NE(error_of(with("[" + resource("a", R"(,"copy":{"name":"c","count":801})") + "]"))
                .find("must be an integer of 0 to 800"),
            std::string::npos);
  EXPECT_NE(
      error_of(with("[" + resource("[concat('a', copyIndex())]", R"(,"copy":{"name":"c","count":800})") +
                    "," + resource("z") + "]"))
          .find("resources limit exceeded"),
      std::string::npos);
}

TEST(Plan, LeavesOutWhatItsConditionExcludesWithItsChildren) {
  const auto plan = good(with(
      "[" +
      resource(
          "a",
          R"(,"condition":"[equals(1, 2)]","resources":[{"type":"parts","apiVersion":"2022-01-01","name":"p"}])") +
      "," + resource("b", after("\"a\"")) + "]"));
  EXPECT_EQ(order_of(*plan), "b");
  EXPECT_NE(error_of(with("[" + resource("a", R"(,"condition":"yes")") + "]")).find("must be true or false"),
            std::string::npos);
  EXPECT_NE(error_of(with("[" + resource("a", R"(,"condition":"[reference('a').x]")") + "]"))
                .find("InvalidTemplate"),
            std::string::npos);
}

TEST(Plan, NamesChildrenAfterTheirParentsAndExtensionsAfterTheirScope) {
  const auto plan = good(with(
      "[" + resource("v", R"(,"resources":[{"type":"parts","apiVersion":"2022-01-01","name":"p"},
      {"type":"Site.Test/things/parts","apiVersion":"2022-01-01","name":"v/q"},
      {"type":"providers/locks","apiVersion":"2020-05-01","name":"Microsoft.Authorization/l"}])") +
      R"(,{"type":"Microsoft.Authorization/locks","apiVersion":"2020-05-01","name":"m","scope":"Site.Test/things/v"}])"));
  ASSERT_TRUE(plan);
  const std::string thing = kGroup + "/providers/Site.Test/things/v";
  EXPECT_EQ(plan->resources()[1].id, thing + "/parts/p");
  EXPECT_EQ(plan->resources()[1].depends_on, std::vector<std::size_t>{0});
  EXPECT_EQ(plan->resources()[2].id, thing + "/parts/q");
  EXPECT_EQ(plan->resources()[3].id, thing + "/providers/Microsoft.Authorization/locks/l");
  EXPECT_EQ(plan->resources()[4].id, thing + "/providers/Microsoft.Authorization/locks/m");
  EXPECT_NE(error_of(with("[" + resource("a/b") + "]")).find("has incorrect segment lengths"),
            std::string::npos);
  EXPECT_NE(error_of(with("[" + resource("") + "]")).find("has incorrect segment lengths"),
            std::string::npos);
}

TEST(Plan, DependsOnWhatItsExpressionsReferTo) {
  const auto plan = good(with(
      "[" +
          resource(
              "b",
              R"(,"properties":{"x":"[concat(reference('a').asked, reference(resourceId('Site.Test/things', 'c')).asked)]",
        "y":"[if(true(), 'no', reference('d').asked)]"})") +
          "," + resource("a") + "," + resource("c") + "," + resource("d", after("\"b\"")) + "]",
      R"("outputs":{"o":{"type":"string","value":"[reference('a').asked]"},"s":{"type":"securestring","value":"secret"},
             "none":{"type":"string","condition":false,"value":"x"},"many":{"type":"array","copy":{"count":2,"input":"[copyIndex()]"}}},)"));
  ASSERT_TRUE(plan);
  EXPECT_EQ(order_of(*plan), "a c b d");
  NoRuntime runtime;
  const std::string a = kGroup + "/providers/Site.Test/things/a@2022-01-01";
  const std::string c = kGroup + "/providers/Site.Test/things/c@2022-01-01";
  EXPECT_EQ(json::Value(*plan->body(0, runtime)),
            json::Value(json::Object{{"properties", json::Object{{"x", a + c}, {"y", "no"}}}}));
  EXPECT_EQ(
      plan->preview(0)->at("properties").at("x"),
      json::Value("[concat(reference('a').asked, reference(resourceId('Site.Test/things', 'c')).asked)]"));
  EXPECT_EQ(
      json::Value(*plan->outputs(runtime)),
      json::Value(json::Object{{"o", json::Object{{"type", "String"}, {"value", a}}},
                               {"s", json::Object{{"type", "SecureString"}}},
                               {"many", json::Object{{"type", "Array"}, {"value", json::Array{0, 1}}}}}));
}

TEST(Plan, ChecksParametersAgainstTheirDeclarations) {
  const auto parameter = [](std::string_view declaration) {
    return with("[]", "\"parameters\":{\"p\":" + std::string(declaration) + "},");
  };
  const auto refused = [&](std::string_view declaration, std::string_view value, std::string_view part) {
    const std::string error =
        error_of(parameter(declaration), "{\"p\":{\"value\":" + std::string(value) + "}}");
    EXPECT_NE(error.find(part), std::string::npos) << error;
  };
  refused(R"({"type":"int"})", "\"x\"", "Expected 'Int'");
  refused(R"({"type":"int","minValue":3})", "2", "less than the minimum '3'");
  refused(R"({"type":"string","maxLength":2})", "\"abc\"", "greater than the maximum '2'");
  refused(R"({"type":"string","allowedValues":["a","b"]})", "\"c\"",
          "The provided value 'c' for the template parameter 'p' at line '1' and column '139' is not valid. "
          "The parameter value is not "
          "part of the allowed value(s): 'a,b'");
  refused(R"({"type":"number"})", "1", "must be one of string");
  const std::string secret =
      error_of(parameter(R"({"type":"securestring","allowedValues":["a"]})"), R"({"p":{"value":"hunter2"}})");
  EXPECT_EQ(secret.find("hunter2"), std::string::npos) << secret;
  EXPECT_EQ(
      error_of(parameter(R"({"type":"string"})")),
      "InvalidTemplate: Deployment template validation failed: 'The value for the template parameter 'p' at "
      "line '1' and column "
      "'139' is not provided. Please see https://aka.ms/arm-create-parameter-file for usage details.'.");
  EXPECT_NE(error_of(parameter(R"({"type":"string"})"), R"({"p":{"value":"x"},"q":{"value":1}})")
                .find("The template parameters 'q'"),
            std::string::npos);
  EXPECT_NE(error_of(parameter(R"({"type":"string"})"), R"({"p":{"reference":{"keyVault":{"id":"/x"}}}})")
                .find("key vault"),
            std::string::npos);
  EXPECT_EQ(
      error_of(parameter(R"({"type":"array","allowedValues":["a","b"]})"), R"({"P":{"value":["a","b"]}})"),
      "no error");
  EXPECT_EQ(error_of(parameter(R"({"type":"string","nullable":true})")), "no error");
}

TEST(Plan, RemembersWhatDefaultsAnswered) {
  const std::string text =
      with("[" + resource("[parameters('b')]") + "]",
           R"("parameters":{"b":{"type":"string","defaultValue":"[concat('x-', parameters('a'))]"},
                                  "a":{"type":"string","defaultValue":"[newGuid()]"}},)");
  const auto first = good(text);
  const auto again = good(text, json::serialize(first->known_parameters()));
  EXPECT_EQ(again->resources()[0].id, first->resources()[0].id);
  EXPECT_NE(good(text)->resources()[0].id, first->resources()[0].id);
}

TEST(Plan, RefusesCirclesOfParametersAndVariables) {
  EXPECT_NE(error_of(with("[]", R"("parameters":{"a":{"type":"string","defaultValue":"[parameters('b')]"},
    "b":{"type":"string","defaultValue":"[parameters('a')]"}},)"))
                .find("needs itself"),
            std::string::npos);
  EXPECT_NE(error_of(with("[" + resource("[variables('a')]") + "]",
                          R"("variables":{"a":"[variables('b')]","b":"[variables('A')]"},)"))
                .find("needs itself"),
            std::string::npos);
}

TEST(Plan, EvaluatesVariablesCopiesAndFunctionsOfTheAuthor) {
  const auto plan = good(
      with("[" + resource("[contoso.name(variables('names')[1])]") + "]",
           R"("variables":{"copy":[{"name":"names","count":3,"input":"[concat('n', copyIndex('names'))]"}]},
      "functions":[{"namespace":"contoso","members":{"name":{"parameters":[{"name":"x","type":"string"}],
      "output":{"type":"string","value":"[toUpper(parameters('x'))]"}}}}],)"));
  EXPECT_EQ(plan->resources()[0].name, "N1");
}

TEST(Plan, ReadsSymbolicNamesAndExistingResources) {
  const auto plan = good(with(
      R"({"b":{"type":"Site.Test/things","apiVersion":"2022-01-01","name":"bee","dependsOn":["a","loop"]},
    "a":{"type":"Site.Test/things","apiVersion":"2022-01-01","name":"ay","properties":{"of":"[reference('old').asked]"}},
    "old":{"existing":true,"type":"Site.Test/things","apiVersion":"2021-01-01","name":"old"},
    "loop":{"copy":{"name":"loop","count":2},"type":"Site.Test/things","apiVersion":"2022-01-01","name":"[format('l{0}', copyIndex())]"}})",
      R"("languageVersion":"2.0",)"));
  ASSERT_TRUE(plan);
  EXPECT_EQ(order_of(*plan), "ay l0 l1 bee");
  NoRuntime runtime;
  EXPECT_EQ(plan->body(1, runtime)->at("properties").at("of"),
            json::Value(kGroup + "/providers/Site.Test/things/old@2021-01-01"));
}

constexpr std::string_view kNested =
    R"([{"type":"Microsoft.Resources/deployments","apiVersion":"2021-04-01","name":"inner@COPY@","@LOOP@":0,
  "properties":{"mode":"Incremental"@SCOPE@,"template":{"contentVersion":"1.0.0.0","parameters":{"a":{"type":"string","defaultValue":"inside"}},
  "resources":[{"type":"Site.Test/things","apiVersion":"2022-01-01","name":"[parameters('a')]","tags":{"d":"[deployment().name]",
  "r":"[reference('b').asked]"}}]}}},{"type":"Site.Test/things","apiVersion":"2022-01-01","name":"b"}])";
std::string nested(std::string_view scope) {
  std::string text(kNested);
  const auto replace = [&](std::string_view what, std::string_view by) {
    text.replace(text.find(what), what.size(), by);
  };
  replace("@COPY@", "");
  replace("\"@LOOP@\":0,", "");
  replace("@SCOPE@", scope);
  return with(text, R"("parameters":{"a":{"type":"securestring","defaultValue":"outside"}},)");
}

TEST(Plan, GivesANestedDeploymentWithOuterScopeTheOuterNames) {
  const auto plan = good(nested(""));
  ASSERT_TRUE(plan);
  EXPECT_EQ(order_of(*plan), "b inner");
  NoRuntime runtime;
  const auto body = plan->body(0, runtime);
  ASSERT_TRUE(body) << body.error().message;
  const json::Value& properties = body->at("properties");
  EXPECT_EQ(properties.at("parameters"), parse_json(R"({"a":{"value":"outside"}})"));
  EXPECT_EQ(properties.at("template").at("parameters").at("a").at("type"), json::Value("securestring"));
  const json::Value& tags = properties.at("template").at("resources").at(0).at("tags");
  EXPECT_EQ(tags.at("r"),
            json::Value("[reference('" + kGroup + "/providers/Site.Test/things/b', '2022-01-01').asked]"));
  EXPECT_NE(json::serialize(tags.at("d")).find("dep1"), std::string::npos);
  const auto inner = plan->nested(0);
  ASSERT_TRUE(inner && *inner);
  EXPECT_EQ((*inner)->resources()[0].name, "outside");
}

TEST(Plan, LeavesANestedDeploymentWithInnerScopeItsOwnNames) {
  const auto plan = plan_of(nested(R"(,"expressionEvaluationOptions":{"scope":"Inner"})"));
  ASSERT_FALSE(plan);  // reference('b') means a resource of the nested template, which has none
  EXPECT_NE(plan.error().message.find("In the nested deployment 'inner'"), std::string::npos)
      << plan.error().message;
}

TEST(Plan, RefusesLinkedTemplatesAndUnknownMembers) {
  EXPECT_NE(error_of(with(R"([{"type":"Microsoft.Resources/deployments","apiVersion":"2021-04-01","name":"x",
    "properties":{"mode":"Incremental","templateLink":{"uri":"https://x"}}}])"))
                .find("fetches no templates"),
            std::string::npos);
  EXPECT_NE(error_of(with("[]", "\"resuorces\":[],")).find("Could not find member 'resuorces'"),
            std::string::npos);
  EXPECT_NE(error_of("{}").find("Required property 'resources'"), std::string::npos);
  EXPECT_NE(error_of("[]").find("must be an object"), std::string::npos);
  EXPECT_NE(error_of(with(R"([{"type":"Site.Test/things","name":"x"}])")).find("api-version is missing"),
            std::string::npos);
  EXPECT_NE(error_of(with("[" + resource("[nonsense()]") + "]"))
                .find("Unable to process template language expressions for resource '[nonsense()]' at line "
                      "'1' and column '134'"),
            std::string::npos);
}

TEST(Plan, ShowsMistakesInBodiesBeforeAnythingIsMade) {
  EXPECT_NE(error_of(with("[" + resource("a", R"(,"properties":{"x":"[parameters('absent')]"})") + "]"))
                .find("'absent' is not found"),
            std::string::npos);
  EXPECT_NE(error_of(with("[]", R"("outputs":{"o":{"type":"int","value":"x"}},)")).find("declared as Int"),
            std::string::npos);
  EXPECT_NE(error_of(with("[" + resource("a", R"(,"properties":{"x":"[reference('absent').y]"})") + "]"))
                .find("could not find template resource"),
            std::string::npos);
}

// Random graphs without circles: everything is made after what it needs.
TEST(Plan, MakesEverythingAfterWhatItDependsOn) {
  std::mt19937 random(11);
  for (int round = 0; round < 50; ++round) {
    const std::size_t count = 2 + random() % 30;
    std::vector<std::size_t> names(count);
    for (std::size_t i = 0; i < count; ++i) names[i] = i;
    std::shuffle(names.begin(), names.end(), random);
    std::string resources = "[";
    for (std::size_t i = 0; i < count; ++i) {
      std::string needs;
      for (std::size_t k = 0; k < count; ++k)
        if (names[k] < names[i] && random() % 4 == 0)
          needs += (needs.empty() ? "\"t" : ",\"t") + std::to_string(names[k]) + "\"";
      resources += (i == 0 ? "" : ",") + resource("t" + std::to_string(names[i]), after(needs));
    }
    const auto plan = good(with(resources + "]"));
    ASSERT_TRUE(plan);
    ASSERT_EQ(plan->order().size(), count);
    std::vector<bool> made(count, false);
    for (const std::size_t index : plan->order()) {
      for (const std::size_t to : plan->resources()[index].depends_on) EXPECT_TRUE(made[to]);
      made[index] = true;
    }
  }
}

TEST(WhatIf, SaysWhatWouldChange) {
  const auto changes = [](std::string_view before, std::string_view after) {
    return json::Value(property_changes(parse_json(before).get_object(), parse_json(after).get_object()));
  };
  const std::string_view stored =
      R"({"location":"local","tags":{"a":"1","b":"2"},"properties":{"size":"x","count":1,
    "id":"/subscriptions/S/a","list":[{"name":"p","port":1,"state":"up"}],"computed":true}})";
  EXPECT_EQ(
      changes(
          stored,
          R"({"location":"LOCAL","properties":{"size":"x","id":"/subscriptions/s/A","list":[{"name":"p"}],"absent":null}})"),
      parse_json("[]"));
  EXPECT_EQ(
      changes(
          stored,
          R"({"tags":{"a":"1","c":"3"},"properties":{"size":"y","list":[{"name":"p","port":2},{"name":"q"}],"new":1}})"),
      parse_json(R"([{"path":"tags.c","propertyChangeType":"Create","after":"3"},
      {"path":"tags.b","propertyChangeType":"Delete","before":"2"},
      {"path":"properties.size","propertyChangeType":"Modify","before":"x","after":"y"},
      {"path":"properties.list","propertyChangeType":"Array","children":[{"path":"0","propertyChangeType":"Modify","children":
        [{"path":"port","propertyChangeType":"Modify","before":1,"after":2}]},{"path":"1","propertyChangeType":"Create","after":{"name":"q"}}]},
      {"path":"properties.new","propertyChangeType":"Create","after":1}])"));
}

TEST(TemplateHash, IsADecimalNumberThatIgnoresCaseOfLetters) {
  const json::Value document = parse_json(R"({"Resources":[]})");
  EXPECT_EQ(template_hash(document), std::to_string(murmur_hash64(R"({"RESOURCES":[]})")));
  EXPECT_EQ(template_hash(document), template_hash(parse_json(R"({"resources":[]})")));
}

}  // namespace
}  // namespace bootseal::templates
