#include "bootseal/template/unique.h"
#include "support.h"

namespace bootseal::templates {
namespace {

class Functions : public testing::Test {
 protected:
  model::ArmResult<json::Value> evaluate(std::string_view text, Runtime* runtime = nullptr) {
    Budget budget(limits);
    Evaluator evaluator(surroundings, symbols, runtime, budget);
    evaluator.loops = loops;
    evaluator.volatile_functions = volatile_functions;
    return evaluator.text(text);
  }
  std::string shown(std::string_view text) {
    const auto value = evaluate(text);
    return value ? json::serialize(*value) : "error: " + value.error().message;
  }
  void expect(std::initializer_list<std::pair<const char*, const char*>> cases) {
    for (const auto& [expression, value] : cases) EXPECT_EQ(shown(expression), value) << expression;
  }
  void refuses(std::initializer_list<const char*> expressions) {
    for (const char* expression : expressions) {
      const auto value = evaluate(expression);
      EXPECT_FALSE(value) << expression << " is " << json::serialize(value.value_or(json::Value()));
      if (!value) {
        EXPECT_EQ(value.error().code, "InvalidTemplate") << expression;
      }
    }
  }

  Surroundings surroundings = test_surroundings();
  MapSymbols symbols;
  Limits limits;
  std::vector<Loop> loops;
  bool volatile_functions = false;
};

// The pairs were published by people who called Azure's own library.
TEST(UniqueString, AnswersWhatAzureAnswers) {
  EXPECT_EQ(unique_string("tyeth"), "zcztcwvu6iyg6");
  EXPECT_EQ(unique_string(
                "/subscriptions/3c7f956b-55ee-4686-9d30-da1eb631dc59/resourceGroups/rg-devopsshieldek010dev"),
            "fd63l2gacbtca");
  EXPECT_EQ(unique_string("hello-world"), "a7wkljktk6wne");
  EXPECT_EQ(murmur_hash64("hello-world"), 571013382255652050U);
}

// Computed with Python's uuid.uuid5 in the documented name space.
TEST(NameGuid, IsAVersion5Uuid) {
  EXPECT_EQ(name_guid("a-b-c"), "a98fa280-e03f-5afa-8d8e-92d0a9c201e8");
  EXPECT_EQ(name_guid(""), "e655a85f-3ab2-5e4a-9666-569aa72a5a10");
}

TEST_F(Functions, WorkOnTexts) {
  symbols.parameters = parse_json(R"({"Name":"vt","o":{"Inner":{"list":[10,20]}}})").get_object();
  expect({{"[concat(parameters('name'), '-', 7, true())]", "\"vt-7True\""},
          {"[concat(createArray(1), createArray('a', 2))]", "[1,\"a\",2]"},
          {"[PARAMETERS('O').inner['LIST'][1]]", "20"},
          {"[toUpper('aé')]", "\"Aé\""},
          {"[trim(' \t x y ')]", "\"x y\""},
          {"[substring('one two three', 4, 3)]", "\"two\""},
          {"[substring('héllo', 2)]", "\"llo\""},
          {"[replace('123-123-1234', '-', '')]", "\"1231231234\""},
          {"[split('one;two,three', createArray(',', ';'))]", "[\"one\",\"two\",\"three\"]"},
          {"[split(',a,', ',')]", "[\"\",\"a\",\"\"]"},
          {"[join(createArray('a', 1), '-')]", "\"a-1\""},
          {"[indexOf('test', 'T')]", "0"},
          {"[lastIndexOf('test', 't')]", "3"},
          {"[indexOf('abc', 'x')]", "-1"},
          {"[indexOf(createArray('a', 'b'), 'b')]", "1"},
          {"[startsWith('abcdef', 'AB')]", "true"},
          {"[endsWith('abcdef', 'EF')]", "true"},
          {"[contains('OneTwoThree', 'two')]", "false"},
          {"[contains('OneTwoThree', 'Two')]", "true"},
          {"[padLeft('123', 10, '0')]", "\"0000000123\""},
          {"[padLeft(7, 3)]", "\"  7\""},
          {"[string(createObject('a', createArray(1, 'x')))]", "\"{\\\"a\\\":[1,\\\"x\\\"]}\""},
          {"[string(false())]", "\"False\""},
          {"[length('a😀')]", "3"},
          {"[first('one')]", "\"o\""},
          {"[last('one')]", "\"e\""},
          {"[take('one two', 3)]", "\"one\""},
          {"[skip('one two', 4)]", "\"two\""},
          {"[uniqueString('hello', 'world')]", "\"a7wkljktk6wne\""},
          {"[guid('a', 'b', 'c')]", "\"a98fa280-e03f-5afa-8d8e-92d0a9c201e8\""},
          {"[empty('')]", "true"}});
  refuses({"[substring('abc', 4)]", "[substring('abc', 1, 3)]", "[substring('abc', -1)]",
           "[replace('a', '', 'b')]", "[concat()]", "[concat('a', createArray())]", "[padLeft('a', -1)]",
           "[padLeft('a', 3, 'xy')]", "[toLower(1)]", "[join(createArray(createArray()), ',')]",
           "[newGuid()]", "[parameters('absent')]"});
}

TEST_F(Functions, FormatAsDotNetDoes) {
  expect({{"[format('{0}, {1}. Number: {2:N0}', 'Hello', 'User', 8175133)]",
           "\"Hello, User. Number: 8,175,133\""},
          {"[format('{{{0}}}', 1)]", "\"{1}\""},
          {"[format('{0:D3}|{0,5}|{0,-5}|{0:X}|{0:x4}|{0:F1}|{0:000}', 42)]",
           "\"042|   42|42   |2A|002a|42.0|042\""},
          {"[format('{0:N}', -1234567)]", "\"-1,234,567.00\""},
          {"[format('{1}{0}', 'a', true())]", "\"Truea\""}});
  refuses({"[format('{0}')]", "[format('{', 1)]", "[format('}', 1)]", "[format('{1}', 'a')]",
           "[format('{x}', 1)]", "[format('{0:Q}', 1)]", "[format('{0,99999}', 1)]",
           "[format('{0:D99}', 1)]"});
}

TEST_F(Functions, WorkOnCollections) {
  expect(
      {{"[range(5, 3)]", "[5,6,7]"},
       {"[union(createArray(1, 2), createArray(2, 3))]", "[1,2,3]"},
       {"[union(json('{\"a\":{\"x\":1}}'), json('{\"A\":{\"y\":2},\"b\":3}'))]",
        "{\"a\":{\"x\":1,\"y\":2},\"b\":3}"},
       {"[intersection(createArray(1, 2, 2, 3), createArray(3, 2))]", "[2,3]"},
       {"[intersection(json('{\"a\":1,\"b\":2}'), json('{\"a\":1,\"b\":3}'))]", "{\"a\":1}"},
       {"[shallowMerge(createArray(json('{\"a\":{\"x\":1}}'), json('{\"a\":{\"y\":2}}')))]",
        "{\"a\":{\"y\":2}}"},
       {"[flatten(createArray(createArray(1), createArray(createArray(2))))]", "[1,[2]]"},
       {"[take(createArray(1, 2, 3), 2)]", "[1,2]"},
       {"[skip(createArray(1, 2, 3), 9)]", "[]"},
       {"[first(createArray())]", "null"},
       {"[length(createObject('a', 1))]", "1"},
       {"[contains(createArray('a'), 'A')]", "false"},
       {"[contains(createObject('a', 1), 'A')]", "true"},
       {"[objectKeys(createObject('b', 1, 'a', 2))]", "[\"a\",\"b\"]"},
       {"[items(createObject('b', 1, 'a', 2))]", "[{\"key\":\"a\",\"value\":2},{\"key\":\"b\",\"value\":1}]"},
       {"[tryGet(createObject('a', createArray(7)), 'A', 0)]", "7"},
       {"[tryGet(createObject('a', 1), 'b', 'c')]", "null"},
       {"[array('a')]", "[\"a\"]"},
       {"[max(createArray(1, 5, 3))]", "5"},
       {"[min(4, -2)]", "-2"}});
  refuses({"[range(0, 10001)]", "[range(0, -1)]", "[range(2147483647, 2)]", "[createObject('a')]",
           "[createObject(1, 2)]", "[flatten(createArray(1))]", "[first(1)]", "[createArray(1)[1]]",
           "[createArray(1)[-1]]", "[createObject('a', 1).b]", "[min(createArray())]",
           "[tryGet(createArray(1), true())]"});
  EXPECT_EQ(evaluate("[createObject('a', 1, 'b', 2).c]").error().message,
            "The language expression property 'c' doesn't exist, available properties are 'a, b'.");
}

TEST_F(Functions, WorkWithLambdas) {
  expect(
      {{"[map(range(0, 3), lambda('i', mul(lambdaVariables('i'), 2)))]", "[0,2,4]"},
       {"[map(createArray('a', 'b'), lambda('x', 'i', concat(lambdaVariables('x'), lambdaVariables('I'))))]",
        "[\"a0\",\"b1\"]"},
       {"[filter(range(0, 6), lambda('i', greater(lambdaVariables('i'), 3)))]", "[4,5]"},
       {"[reduce(range(1, 4), 0, lambda('sum', 'i', add(lambdaVariables('sum'), lambdaVariables('i'))))]",
        "10"},
       {"[sort(createArray(3, 1, 2), lambda('a', 'b', less(lambdaVariables('a'), lambdaVariables('b'))))]",
        "[1,2,3]"},
       {"[toObject(createArray('a', 'b'), lambda('x', lambdaVariables('x')), lambda('x', "
        "toUpper(lambdaVariables('x'))))]",
        "{\"a\":\"A\",\"b\":\"B\"}"},
       {"[groupBy(createArray('ab', 'c', 'de'), lambda('x', string(length(lambdaVariables('x')))))]",
        "{\"2\":[\"ab\",\"de\"],\"1\":[\"c\"]}"},
       {"[mapValues(createObject('a', 1), lambda('v', add(lambdaVariables('v'), 1)))]", "{\"a\":2}"},
       {"[map(range(0, 2), lambda('x', map(range(0, 2), lambda('x', lambdaVariables('x')))))]",
        "[[0,1],[0,1]]"}});
  refuses({"[map(range(0, 2), 'x')]", "[lambda('x', 1)]", "[lambdaVariables('x')]",
           "[filter(range(0, 1), lambda('x', 1))]", "[map(range(0, 2), lambda(concat('x'), 1))]",
           "[sort(range(0, 2), lambda('a', true()))]",
           "[concat(map(range(0, 1), lambda('x', 1)), lambdaVariables('x'))]"});
}

TEST_F(Functions, CalculateAndCompare) {
  expect({{"[add(5, -7)]", "-2"},
          {"[sub(7, 3)]", "4"},
          {"[mul(5, 3)]", "15"},
          {"[div(8, 3)]", "2"},
          {"[mod(-7, 3)]", "-1"},
          {"[int(' 42 ')]", "42"},
          {"[equals('a', 'A')]", "false"},
          {"[equals(createArray(1, 'x'), json('[1,\"x\"]'))]", "true"},
          {"[less('b', 'a')]", "false"},
          {"[lessOrEquals(2, 2)]", "true"},
          {"[greaterOrEquals(1, 2)]", "false"},
          {"[and(false(), div(1, 0))]", "false"},
          {"[or(true(), parameters('absent'))]", "true"},
          {"[if(equals(1, 1), 'yes', div(1, 0))]", "\"yes\""},
          {"[coalesce(null(), json('null'), 'x', div(1, 0))]", "\"x\""},
          {"[not(bool('TRUE'))]", "false"},
          {"[bool(0)]", "false"}});
  refuses({"[div(1, 0)]", "[mod(1, 0)]", "[add(9223372036854775807, 1)]", "[mul(9223372036854775807, 2)]",
           "[div(-9223372036854775808, -1)]", "[mod(-9223372036854775808, -1)]", "[int('4x')]",
           "[int(true())]", "[if(1, 2, 3)]", "[bool('yes')]", "[less(1, 'a')]", "[not('true')]",
           "[noSuchFunction()]", "[add(1)]"});
  EXPECT_EQ(evaluate("[add(1)]").error().message,
            "Unable to evaluate template language function 'add': function requires 2 argument(s) while 1 "
            "were provided. Please "
            "see https://aka.ms/arm-function-add for usage details.");
}

TEST_F(Functions, EncodeAndDecode) {
  expect({{"[base64('one, two, three')]", "\"b25lLCB0d28sIHRocmVl\""},
          {"[base64ToString('b25lLCB0d28sIHRocmVl')]", "\"one, two, three\""},
          {"[base64ToJson(base64('{\"one\":\"a\"}'))]", "{\"one\":\"a\"}"},
          {"[uri('http://contoso.org/firstpath', 'myscript.sh')]", "\"http://contoso.org/myscript.sh\""},
          {"[uri('http://contoso.org/firstpath/', 'myscript.sh')]",
           "\"http://contoso.org/firstpath/myscript.sh\""},
          {"[uri('http://contoso.org', 'myscript.sh')]", "\"http://contoso.org/myscript.sh\""},
          {"[uriComponent('http://contoso.com/ü')]", "\"http%3A%2F%2Fcontoso.com%2F%C3%BC\""},
          {"[uriComponentToString('http%3A%2F%2Fcontoso.com%2F%C3%BC%')]", "\"http://contoso.com/ü%\""},
          {"[dataUri('Hello')]", "\"data:text/plain;charset=utf8;base64,SGVsbG8=\""},
          {"[dataUriToString('data:;base64,SGVsbG8sIFdvcmxkIQ==')]", "\"Hello, World!\""}});
  refuses({"[base64ToString('!')]", "[base64ToString('/w==')]", "[base64ToJson('e30x')]",
           "[uriComponentToString('%ff')]", "[uri('nothing', 'x')]", "[json('{')]",
           "[dataUriToString('x')]"});
}

TEST_F(Functions, KnowDates) {
  volatile_functions = true;
  expect({{"[utcNow()]", "\"20261121T204445Z\""},
          {"[utcNow('d')]", "\"11/21/2026\""},
          {"[utcNow('yyyy-M-d HH:mm:ss.fff tt ddd MMMM')]", "\"2026-11-21 20:44:45.123 PM Sat November\""},
          {"[utcNow('u')]", "\"2026-11-21 20:44:45Z\""},
          {"[dateTimeAdd('2020-04-07 14:53:14Z', 'P3Y')]", "\"2023-04-07T14:53:14Z\""},
          {"[dateTimeAdd('2020-04-07 14:53:14Z', '-P9D')]", "\"2020-03-29T14:53:14Z\""},
          {"[dateTimeAdd('2020-04-07 14:53:14Z', 'PT1H')]", "\"2020-04-07T15:53:14Z\""},
          {"[dateTimeAdd('2024-01-31', 'P1M', 'yyyy-MM-dd')]", "\"2024-02-29\""},
          {"[dateTimeAdd('20200407T145314+0200', 'P0D')]", "\"2020-04-07T12:53:14Z\""},
          {"[dateTimeToEpoch('2023-05-10T22:00:00Z')]", "1683756000"},
          {"[dateTimeFromEpoch(1683040573)]", "\"2023-05-02T15:16:13Z\""}});
  EXPECT_EQ(*evaluate("[length(newGuid())]"), json::Value(36));
  refuses({"[dateTimeAdd('nonsense', 'P1D')]", "[dateTimeAdd('2020-13-01', 'P1D')]",
           "[dateTimeAdd('2020-01-01', '1 day')]", "[dateTimeAdd('2020-01-01', 'P9999Y')]", "[utcNow('q')]",
           "[dateTimeFromEpoch(999999999999999)]"});
  volatile_functions = false;
  refuses({"[utcNow()]"});
}

// The examples of Microsoft's reference of the CIDR functions.
TEST_F(Functions, KnowNetworks) {
  expect(
      {{"[parseCidr('10.144.0.0/20')]",
        R"({"network":"10.144.0.0","netmask":"255.255.240.0","broadcast":"10.144.15.255","firstUsable":"10.144.0.1","lastUsable":"10.144.15.254","cidr":20})"},
       {"[parseCidr('fdad:3236:5555::/48')]",
        R"({"network":"fdad:3236:5555::","netmask":"ffff:ffff:ffff::","firstUsable":"fdad:3236:5555::","lastUsable":"fdad:3236:5555:ffff:ffff:ffff:ffff:ffff","cidr":48})"},
       {"[cidrSubnet('10.144.0.0/20', 24, 4)]", "\"10.144.4.0/24\""},
       {"[cidrSubnet('fdad:3236:5555::/48', 52, 4)]", "\"fdad:3236:5555:4000::/52\""},
       {"[cidrHost('10.144.3.0/24', 0)]", "\"10.144.3.1\""},
       {"[cidrHost('10.144.3.0/24', 253)]", "\"10.144.3.254\""}});
  refuses({"[parseCidr('10.0.0.0')]", "[parseCidr('10.0.0.0/33')]", "[cidrSubnet('10.144.0.0/20', 24, 16)]",
           "[cidrSubnet('10.144.0.0/20', 19, 0)]", "[cidrHost('10.144.3.0/24', 254)]",
           "[cidrHost('10.0.0.1/32', 0)]"});
}

TEST_F(Functions, MakeResourceIds) {
  const std::string subscription = "/subscriptions/00000000-0000-0000-0000-000000000001";
  const auto is = [&](const char* expression, const std::string& id) {
    EXPECT_EQ(*evaluate(expression), json::Value(id));
  };
  is("[resourceId('Microsoft.Network/virtualNetworks/subnets', 'v', 's')]",
     subscription + "/resourceGroups/rg1/providers/Microsoft.Network/virtualNetworks/v/subnets/s");
  is("[resourceId('rg2', 'Microsoft.Compute/disks', 'd')]",
     subscription + "/resourceGroups/rg2/providers/Microsoft.Compute/disks/d");
  is("[resourceId('s2', 'rg2', 'Microsoft.Compute/disks', 'd')]",
     "/subscriptions/s2/resourceGroups/rg2/providers/Microsoft.Compute/disks/d");
  is("[subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'r')]",
     subscription + "/providers/Microsoft.Authorization/roleDefinitions/r");
  is("[tenantResourceId('Microsoft.Management/managementGroups', 'm')]",
     "/providers/Microsoft.Management/managementGroups/m");
  is("[extensionResourceId(resourceGroup().id, 'Microsoft.Authorization/locks', 'l')]",
     subscription + "/resourceGroups/rg1/providers/Microsoft.Authorization/locks/l");
  is("[resourceGroup().Tags.env]", "test");
  is("[deployment().name]", "dep1");
  refuses({"[resourceId('Microsoft.Compute/disks')]", "[resourceId('Microsoft.Compute/disks', 'a', 'b')]",
           "[resourceId('a', 'b')]", "[resourceId('a', 'b', 'c', 'Microsoft.Compute/disks', 'd')]"});
}

class FakeRuntime final : public Runtime {
 public:
  model::ArmResult<json::Value> resource(const std::string& id, const std::string& api_version) override {
    return parse_json(R"({"id":")" + id + R"(","location":"local","properties":{"version":")" + api_version +
                      R"("}})");
  }
  model::ArmResult<json::Value> list(const std::string& function, const std::string& id,
                                     const std::string& api_version, const json::Value& body) override {
    return json::Value(
        json::Object{{"called", function + " " + id + " " + api_version + " " + json::serialize(body)}});
  }
  model::ArmResult<json::Value> provider(const std::string& name_space, const std::string& type) override {
    return json::Value(json::Object{{"resourceType", name_space + "/" + type}});
  }
};

TEST_F(Functions, ReadResourcesThroughTheRuntime) {
  FakeRuntime runtime;
  EXPECT_EQ(*evaluate("[reference('ip').version]", &runtime), json::Value("2022-01-01"));
  EXPECT_EQ(*evaluate("[reference('/subscriptions/x', '2021-01-01', 'Full').location]", &runtime),
            json::Value("local"));
  EXPECT_EQ(*evaluate("[listKeys('/x', '2021-01-01', createObject('a', 1)).called]", &runtime),
            json::Value("listKeys /x 2021-01-01 {\"a\":1}"));
  EXPECT_EQ(*evaluate("[providers('Microsoft.Compute', 'disks').resourceType]", &runtime),
            json::Value("Microsoft.Compute/disks"));
  EXPECT_TRUE(is_deferred(evaluate("[reference('ip').version]").error()));
  EXPECT_TRUE(is_deferred(evaluate("[listKeys('/x', '2021-01-01')]").error()));
  EXPECT_FALSE(is_deferred(evaluate("[reference('absent')]").error()));
  refuses({"[reference('absent')]"});
  EXPECT_EQ(shown("[pickZones('Microsoft.Compute', 'virtualMachines', 'local')]"), "[]");
}

TEST_F(Functions, KnowTheLoopsAroundThem) {
  loops = {{"outer", 2}, {"inner", 5}};
  expect({{"[copyIndex()]", "5"},
          {"[copyIndex(1)]", "6"},
          {"[copyIndex('OUTER')]", "2"},
          {"[copyIndex('outer', 10)]", "12"}});
  refuses({"[copyIndex('other')]", "[copyIndex(9223372036854775807)]"});
  loops.clear();
  refuses({"[copyIndex()]"});
}

TEST_F(Functions, OfUsersSeeTheirOwnParametersOnly) {
  symbols.functions["contoso.join"] = {{"a", "b"},
                                       json::Value("[concat(parameters('A'), '-', parameters('b'))]")};
  symbols.functions["contoso.bad"] = {{}, json::Value("[variables('x')]")};
  symbols.functions["contoso.nested"] = {{}, json::Value("[contoso.join('a', 'b')]")};
  expect({{"[contoso.join('x', 'y')]", "\"x-y\""}});
  refuses({"[contoso.join('x')]", "[contoso.bad()]", "[contoso.nested()]", "[contoso.absent()]",
           "[other.join('a', 'b')]"});
}

TEST_F(Functions, EndWhereTheBudgetEnds) {
  limits.work = 100'000;
  refuses({"[map(range(0, 10000), lambda('i', range(0, 10000)))]",
           "[sort(range(0, 10000), lambda('a', 'b', false()))]"});
  limits = {};
  limits.text = 1000;
  refuses({"[padLeft('', 1001)]", "[replace('aaaaaaaaaa', 'a', padLeft('', 500))]",
           "[join(range(0, 1000), ', ')]", "[concat(padLeft('', 900), padLeft('', 900))]"});
  limits = {};
  limits.depth = 10;
  refuses({"[add(1, add(1, add(1, add(1, add(1, add(1, add(1, add(1, add(1, add(1, 1))))))))))]"});
}

TEST_F(Functions, ExpandPropertyLoopsAndNames) {
  symbols.parameters = parse_json(R"({"n":3,"tag":"owner"})").get_object();
  Budget budget;
  Evaluator evaluator(surroundings, symbols, nullptr, budget);
  const auto value =
      evaluator.value(parse_json(R"({"copy":[{"name":"disks","count":"[parameters('n')]","input":
    {"lun":"[copyIndex('disks')]","name":"[concat('d', copyIndex('disks', 1))]"}}],"[parameters('tag')]":"[[literal]","copyMode":"x"})"));
  ASSERT_TRUE(value) << value.error().message;
  EXPECT_EQ(*value,
            parse_json(R"({"disks":[{"lun":0,"name":"d1"},{"lun":1,"name":"d2"},{"lun":2,"name":"d3"}],
    "owner":"[literal]","copyMode":"x"})"));
}

}  // namespace
}  // namespace bootseal::templates
