#include "server_certificate.h"

#include <fmt/format.h>

#include <algorithm>

#include "bootseal/base/fds.h"
#include "bootseal/log/log.h"

namespace bootseal::controld {
namespace {

constexpr std::size_t kPemLimit = std::size_t{256} << 10;
constexpr int kRenewalShare = 3;  // renewed when a third of its life is left

Result<std::string> read_text(const std::filesystem::path& path) {
  BOOTSEAL_TRY(const Bytes content, read_file(path, kPemLimit));
  return std::string(as_text(content));
}

}  // namespace

bool CertificateKeeper::is_due(const ServerCertificate& certificate) const {
  const auto parsed = crypto::Certificate::list_from_pem(certificate.chain_pem);
  if (!parsed) return true;
  const auto life = parsed->front().not_after() - parsed->front().not_before();
  return clock_.now() > parsed->front().not_after() - life / kRenewalShare;
}

Status CertificateKeeper::check(const ServerCertificate& certificate) const {
  BOOTSEAL_TRY(const auto chain, crypto::Certificate::list_from_pem(certificate.chain_pem));
  BOOTSEAL_TRY(const crypto::Certificate ca, crypto::Certificate::from_pem(certificate.ca_pem));
  BOOTSEAL_TRY(const crypto::PrivateKey key, crypto::PrivateKey::from_pem(certificate.key_pem));
  BOOTSEAL_TRY_STATUS(crypto::verify_chain(chain.front(), {chain.begin() + 1, chain.end()}, {ca},
                                           clock_.now(), crypto::kOidServerAuthentication));
  BOOTSEAL_TRY(const crypto::PublicKey certified, chain.front().public_key());
  if (!(certified == key.public_key()))
    return fail(ErrorCode::corrupt, "the TLS key does not belong to the TLS certificate");
  const crypto::AlternativeNames present = chain.front().alternative_names();
  for (const std::string& name : names_) {
    if (std::count(present.dns.begin(), present.dns.end(), name) +
            std::count(present.addresses.begin(), present.addresses.end(), name) ==
        0) {
      return fail(ErrorCode::conflict, fmt::format("the TLS certificate does not name '{}'", name));
    }
  }
  return {};
}

Result<ServerCertificate> CertificateKeeper::load() const {
  ServerCertificate kept;
  BOOTSEAL_TRY(kept.key_pem, read_text(folder_ / "key.pem"));
  BOOTSEAL_TRY(kept.chain_pem, read_text(folder_ / "chain.pem"));
  BOOTSEAL_TRY(kept.ca_pem, read_text(folder_ / "ca.pem"));
  BOOTSEAL_TRY_STATUS(check(kept));
  BOOTSEAL_TRY(const auto chain, crypto::Certificate::list_from_pem(kept.chain_pem));
  kept.not_after = chain.front().not_after();
  return kept;
}

Result<ServerCertificate> CertificateKeeper::request() {
  BOOTSEAL_TRY(const crypto::PrivateKey key, crypto::PrivateKey::generate(crypto::KeyKind::ec_p256));
  BOOTSEAL_TRY(const crypto::CertificateRequest csr,
               crypto::CertificateRequest::create(key, {{"CN", "bootseal-controld"}}));
  json::Array names;
  for (const std::string& name : names_) names.emplace_back(name);
  json::Object body;
  body["csrPem"] = csr.pem();
  body["names"] = std::move(names);
  BOOTSEAL_TRY(const json::Value answer, vault_.call_json("POST", "/v1/certificates/server", body));
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(answer, "the vault's answer"));
  BOOTSEAL_TRY(const json::Value ca_answer, vault_.call_json("GET", "/v1/ca"));
  BOOTSEAL_TRY(json::Reader ca_reader, json::Reader::object(ca_answer, "the vault's answer"));

  ServerCertificate made;
  made.key_pem = as_text(key.pem().view());
  BOOTSEAL_TRY(made.chain_pem, reader.string("chainPem"));
  BOOTSEAL_TRY(const std::string leaf, reader.string("certificatePem"));
  if (!made.chain_pem.starts_with(leaf.substr(0, leaf.find_last_not_of("\n") + 1)))
    made.chain_pem = leaf + made.chain_pem;
  BOOTSEAL_TRY(made.ca_pem, ca_reader.string("certificatePem"));
  BOOTSEAL_TRY_STATUS(check(made));
  BOOTSEAL_TRY(const auto chain, crypto::Certificate::list_from_pem(made.chain_pem));
  made.not_after = chain.front().not_after();

  BOOTSEAL_TRY_STATUS(make_folder(folder_, 0700));
  BOOTSEAL_TRY_STATUS(replace_file(folder_ / "key.pem", as_bytes(made.key_pem)));
  BOOTSEAL_TRY_STATUS(replace_file(folder_ / "chain.pem", as_bytes(made.chain_pem)));
  BOOTSEAL_TRY_STATUS(replace_file(folder_ / "ca.pem", as_bytes(made.ca_pem)));
  log::info("certificate.made",
            {{"notAfter", format_time(made.not_after)}, {"subject", chain.front().subject()}});
  return made;
}

Result<ServerCertificate> CertificateKeeper::get() {
  auto kept = load();
  if (kept && !is_due(*kept)) return kept;
  auto made = request();
  if (made || !kept) return made;
  log::warning("certificate.not-renewed",
               {{"reason", made.error().describe()}, {"notAfter", format_time(kept->not_after)}});
  return kept;
}

}  // namespace bootseal::controld
