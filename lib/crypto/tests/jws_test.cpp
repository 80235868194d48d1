// Oracles: the examples of RFC 7515 (A.2, A.3) and RFC 7638 (3.1).
#include "bootseal/crypto/jws.h"

#include <gtest/gtest.h>

namespace bootseal::crypto {
namespace {

using enum JwsAlgorithm;

constexpr std::string_view kRsaModulus =
    "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-"
    "SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-"
    "UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_"
    "h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
constexpr std::string_view kRs256 =
    "eyJhbGciOiJSUzI1NiJ9."
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ."
    "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_"
    "O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_"
    "nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--"
    "xi12jzDwusC-"
    "eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0ig"
    "cN_IoypGlUPQGe77Rw";
constexpr std::string_view kEs256 =
    "eyJhbGciOiJFUzI1NiJ9."
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ."
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

PublicKey rsa_key() {
  return *PublicKey::from_rsa(*from_base64url(kRsaModulus), 65537);
}
PublicKey ec_key() {
  return *PublicKey::from_point(KeyKind::ec_p256,
                                *from_base64url("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"),
                                *from_base64url("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"));
}
std::string with_last_part(std::string_view token, std::string_view part) {
  return std::string(token.substr(0, token.rfind('.') + 1)) + std::string(part);
}

TEST(Jws, VerifiesTheExamplesOfRfc7515) {
  const auto rsa = Jws::parse(kRs256);
  ASSERT_TRUE(rsa) << rsa.error().message;
  EXPECT_EQ(rsa->algorithm, "RS256");
  EXPECT_EQ(rsa->payload.at("iss").as_string(), "joe");
  EXPECT_TRUE(rsa->verify(rsa_key(), {rs256}));
  const auto ec = Jws::parse(kEs256);
  ASSERT_TRUE(ec);
  EXPECT_TRUE(ec->verify(ec_key(), {es256}));
}

TEST(Jws, TakesNoAlgorithmThatTheCallerDidNotName) {
  EXPECT_FALSE(Jws::parse(kRs256)->verify(rsa_key(), {ps256, es256}));
  EXPECT_FALSE(Jws::parse(kEs256)->verify(rsa_key(), {rs256, es256}));
  EXPECT_FALSE(Jws::parse("eyJhbGciOiJub25lIn0.e30.")->verify(rsa_key(), {rs256, ps256, es256}));
}

TEST(Jws, RefusesAChangedPayloadAndAChangedSignature) {
  std::string changed(kRs256);
  changed[kRs256.find('.') + 5] ^= 1;
  if (const auto jws = Jws::parse(changed)) {
    EXPECT_FALSE(jws->verify(rsa_key(), {rs256}));
  }
  EXPECT_FALSE(Jws::parse(with_last_part(kEs256, ""))->verify(ec_key(), {es256}));
  EXPECT_FALSE(Jws::parse(with_last_part(kEs256, std::string(86, 'A')))->verify(ec_key(), {es256}));
}

TEST(Jws, SignsWhatItVerifiesWithEveryAlgorithm) {
  const PrivateKey rsa = *PrivateKey::generate(KeyKind::rsa);
  const PrivateKey ec = *PrivateKey::generate(KeyKind::ec_p256);
  for (const auto& [key, algorithm] : {std::pair(rsa, rs256), std::pair(rsa, ps256), std::pair(ec, es256)}) {
    const auto token = sign_jws(key, algorithm, {{"kid", "k1"}}, {{"sub", "me"}});
    ASSERT_TRUE(token) << token.error().message;
    const auto jws = Jws::parse(*token);
    ASSERT_TRUE(jws);
    EXPECT_EQ(jws->key_id, "k1");
    EXPECT_EQ(jws->algorithm, jws_name(algorithm));
    EXPECT_TRUE(jws->verify(key.public_key(), {algorithm}));
  }
  EXPECT_EQ(sign_jws(ec, rs256, {}, {}).error().code, ErrorCode::invalid_argument);
}

TEST(Jws, RefusesWhatIsNoToken) {
  for (const std::string text :
       {"", "a.b", "a.b.c.d", "..", "e30.e30.", "eyJhbGciOiJub25lIn0.W10.", "eyJhbGciOiJub25lIn0.e30.*",
        "eyJhbGciOjF9.e30.", "eyJhbGciOiJub25lIiwiY3JpdCI6WyJiNjQiXX0.e30."}) {
    const auto jws = Jws::parse(text);
    ASSERT_FALSE(jws) << text;
    EXPECT_EQ(jws.error().code, ErrorCode::invalid_argument);
  }
  EXPECT_FALSE(Jws::parse(std::string(kMaximumJwsBytes + 1, 'A')));
}

TEST(Jwk, NamesAKeyAsRfc7638Does) {
  const auto key = PublicKey::from_rsa(
      *from_base64url(
          "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_"
          "BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_"
          "FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-"
          "bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"),
      65537);
  ASSERT_TRUE(key);
  EXPECT_EQ(jwk_thumbprint(*key), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
}

TEST(Jwk, ShowsTheNumbersThatTheKeyWasMadeOf) {
  const json::Object rsa = to_jwk(rsa_key());
  EXPECT_EQ(rsa.at("n").as_string(), kRsaModulus);
  EXPECT_EQ(rsa.at("e").as_string(), "AQAB");
  const json::Object ec = to_jwk(ec_key());
  EXPECT_EQ(ec.at("crv").as_string(), "P-256");
  EXPECT_EQ(ec.at("x").as_string(), "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU");
  EXPECT_EQ(ec.at("y").as_string(), "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
}

}  // namespace
}  // namespace bootseal::crypto
