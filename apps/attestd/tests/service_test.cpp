// Challenge, evidence, verdict over the routes; what is remembered and what is not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "../../../lib/attest/tests/test_tpm.h"
#include "routes.h"

namespace bootseal::attestd {
namespace {

using attest::testing::debian_expectation;
using attest::testing::kNow;
using attest::testing::QuoteFields;
using attest::testing::read_log;
using attest::testing::read_pcrs;
using attest::testing::Site;
using attest::testing::test_vm;
using attest::testing::TestTpm;
using testing::HasSubstr;

constexpr uid_t kHostd = 4000, kControld = 3, kStranger = 77;

class Service : public testing::Test {
 protected:
  net::Response call(uid_t uid, std::string method, std::string path, const json::Value& body = nullptr) {
    net::Request request;
    request.method = std::move(method);
    request.target = request.path = "/v1/vms/" + vm_ + std::move(path);
    if (!body.is_null()) request.body = json::serialize(body);
    request.peer.kind = net::Peer::Kind::unix_process;
    request.peer.uid = uid;
    return router_.handle(request);
  }
  static json::Value document(const net::Response& response) { return *json::parse(response.body); }
  void expect_debian(bool secure_boot = true) {
    attest::Expectation expectation = debian_expectation();
    expectation.secure_boot = secure_boot;
    ASSERT_EQ(call(kControld, "PUT", "/expectation", attest::to_json(expectation)).status, 200);
  }
  json::Value challenge() { return document(call(kHostd, "POST", "/challenges")); }
  // Evidence of a good boot for this challenge.
  json::Value evidence(const json::Value& challenge, std::uint64_t clock_ms = 1000) const {
    QuoteFields fields;
    fields.nonce = *from_base64(challenge.at("nonce").as_string());
    fields.clock_ms = clock_ms;
    return {{"challengeId", challenge.at("challengeId")},
            {"evidence", attest::to_json(tpm_.attest(fields, read_pcrs("pos-good"), read_log("pos-good")))}};
  }
  std::string status() {
    return std::string(document(call(kControld, "GET", "/verdict")).at("status").as_string());
  }

  const std::string vm_ = test_vm().to_string();
  const Site site_{};
  const TestTpm tpm_{site_};
  FixedClock clock_{kNow};
  std::unique_ptr<store::Store> store_ = store::make_memory_store();
  std::unique_ptr<Attestor> attestor_ = std::make_unique<Attestor>(*store_, site_.certificate, clock_);
  net::Router router_ = make_routes(*attestor_, {kHostd, kControld});
};

TEST_F(Service, GoodEvidenceForAFreshChallengeIsHealthyAndRemembered) {
  expect_debian();
  EXPECT_EQ(status(), "Pending");
  const json::Value asked = challenge();
  EXPECT_EQ(asked.at("bank").as_string(), "sha256");
  EXPECT_EQ(json::serialize(asked.at("pcrs")), "[0,1,2,3,4,5,6,7,8,9,11,12,13,14]");
  EXPECT_EQ(asked.at("expiresTime").as_string(), format_time(kNow + std::chrono::minutes(5)));
  const net::Response judged = call(kHostd, "POST", "/evidence", evidence(asked));
  ASSERT_EQ(judged.status, 200) << judged.body;
  EXPECT_EQ(document(judged).at("status").as_string(), "Healthy") << judged.body;
  EXPECT_EQ(document(call(kHostd, "GET", "/verdict")), document(judged));

  // A restart forgets nothing but open challenges.
  attestor_ = std::make_unique<Attestor>(*store_, site_.certificate, clock_);
  router_ = make_routes(*attestor_, {kHostd, kControld});
  EXPECT_EQ(status(), "Healthy");
}

TEST_F(Service, AChallengeServesOnce) {
  expect_debian();
  const json::Value sent = evidence(challenge());
  ASSERT_EQ(call(kHostd, "POST", "/evidence", sent).status, 200);
  EXPECT_EQ(call(kHostd, "POST", "/evidence", sent).status, 409);
  EXPECT_EQ(status(), "Healthy") << "a replay changes nothing";
  // The recorded evidence under a new challenge.
  json::Value replayed = sent;
  replayed.at("challengeId") = challenge().at("challengeId");
  EXPECT_THAT(call(kHostd, "POST", "/evidence", replayed).body, HasSubstr("NonceMismatch"));
  EXPECT_EQ(status(), "Unhealthy");
}

TEST_F(Service, UnreadableEvidenceUsesTheChallengeUpAndIsUnknown) {
  expect_debian();
  const json::Value asked = challenge();
  const net::Response judged =
      call(kHostd, "POST", "/evidence",
           {{"challengeId", asked.at("challengeId")}, {"evidence", {{"quote", "!"}}}});
  EXPECT_EQ(document(judged).at("status").as_string(), "Unknown");
  EXPECT_THAT(judged.body, HasSubstr("EvidenceMalformed"));
  EXPECT_EQ(call(kHostd, "POST", "/evidence", evidence(asked)).status, 409);
  EXPECT_EQ(status(), "Unknown");
}

TEST_F(Service, AClockThatGoesBackIsRememberedAcrossRestarts) {
  expect_debian();
  ASSERT_EQ(call(kHostd, "POST", "/evidence", evidence(challenge(), 50'000)).status, 200);
  attestor_ = std::make_unique<Attestor>(*store_, site_.certificate, clock_);
  router_ = make_routes(*attestor_, {kHostd, kControld});
  EXPECT_THAT(call(kHostd, "POST", "/evidence", evidence(challenge(), 49'000)).body,
              HasSubstr("ClockWentBack"));
  EXPECT_EQ(status(), "Unhealthy");
  EXPECT_THAT(call(kHostd, "POST", "/evidence", evidence(challenge(), 49'500)).body,
              HasSubstr("ClockWentBack"))
      << "the older copy is not forgiven";
  EXPECT_THAT(call(kHostd, "POST", "/evidence", evidence(challenge(), 51'000)).body, HasSubstr("Healthy"));
}

TEST_F(Service, AnotherExpectationMakesTheVerdictVoid) {
  expect_debian();
  ASSERT_EQ(call(kHostd, "POST", "/evidence", evidence(challenge())).status, 200);
  expect_debian();
  EXPECT_EQ(status(), "Healthy") << "the same expectation again changes nothing";
  expect_debian(false);
  EXPECT_EQ(status(), "Pending");
}

TEST_F(Service, SilenceIsNotHealth) {
  expect_debian();
  ASSERT_EQ(call(kHostd, "POST", "/evidence", evidence(challenge())).status, 200);
  clock_.advance(std::chrono::hours(24));
  EXPECT_EQ(status(), "Healthy");
  clock_.advance(std::chrono::seconds(1));
  EXPECT_EQ(status(), "Unknown");
  EXPECT_THAT(call(kControld, "GET", "/verdict").body, HasSubstr("EvidenceStale"));
}

TEST_F(Service, VmsWithoutExpectationOrTpmAreNotHealthy) {
  EXPECT_EQ(call(kControld, "GET", "/verdict").status, 404);
  EXPECT_THAT(call(kHostd, "POST", "/evidence", evidence(challenge())).body, HasSubstr("ExpectationMissing"));
  attest::Expectation expectation = debian_expectation();
  expectation.vtpm = false;
  ASSERT_EQ(call(kControld, "PUT", "/expectation", attest::to_json(expectation)).status, 200);
  EXPECT_THAT(call(kControld, "GET", "/verdict").body, HasSubstr("NoVtpm"));
}

TEST_F(Service, AForgottenVmLeavesNothing) {
  expect_debian();
  const json::Value asked = challenge();
  ASSERT_EQ(call(kHostd, "POST", "/evidence", evidence(challenge())).status, 200);
  EXPECT_EQ(call(kControld, "DELETE", "").status, 204);
  EXPECT_EQ(call(kControld, "DELETE", "").status, 204);
  EXPECT_TRUE(store_->list_all("")->empty());
  EXPECT_EQ(call(kHostd, "POST", "/evidence", evidence(asked)).status, 409);
}

TEST_F(Service, EachCallIsForItsCallersOnly) {
  const struct {
    std::string method, path;
    std::vector<uid_t> allowed;
  } calls[] = {{"PUT", "/expectation", {kControld}},
               {"DELETE", "", {kControld}},
               {"POST", "/challenges", {kHostd}},
               {"POST", "/evidence", {kHostd}},
               {"GET", "/verdict", {kHostd, kControld}}};
  for (const auto& [method, path, allowed] : calls) {
    for (const uid_t uid : {kHostd, kControld, kStranger, uid_t{0}}) {
      const bool may = uid == 0 || std::ranges::find(allowed, uid) != allowed.end();
      EXPECT_EQ(call(uid, method, path).status == 403, !may) << method << " " << path << " by uid " << uid;
    }
  }
}

}  // namespace
}  // namespace bootseal::attestd
