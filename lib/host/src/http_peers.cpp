#include "bootseal/host/http_peers.h"

#include <fmt/format.h>

#include "bootseal/crypto/x509.h"
#include "bootseal/net/client.h"

namespace bootseal::host {
namespace {

constexpr std::chrono::seconds kLimit{10};

Result<std::unique_ptr<net::Client>> unix_client(const std::filesystem::path& socket) {
  net::ClientOptions options;
  options.unix_socket = socket;
  options.base_url = "http://daemon";
  options.limit = kLimit;
  return net::Client::create(std::move(options));
}

Result<Bytes> optional_bytes(json::Reader& reader, std::string_view field) {
  if (!reader.has(field)) return Bytes{};
  return reader.base64(field);
}

class VaultClient final : public Vault {
 public:
  VaultClient(std::unique_ptr<net::Client> client, std::string host_id)
      : client_(std::move(client)), host_id_(std::move(host_id)) {}

  Result<Bytes> ca_certificate_der() override {
    BOOTSEAL_TRY(const json::Value answer, client_->call_json("GET", "/v1/ca"));
    BOOTSEAL_TRY(json::Reader reader, json::Reader::object(answer, "the vault's answer"));
    BOOTSEAL_TRY(const std::string pem, reader.string("certificatePem"));
    BOOTSEAL_TRY(const crypto::Certificate certificate, crypto::Certificate::from_pem(pem));
    return certificate.der();
  }

  Status create_key(const VmId& vm, Epoch epoch) override {
    BOOTSEAL_TRY_STATUS(client_->call_json("POST", target(vm), owner(epoch)));
    return {};
  }

  Result<Generation> known_generation(const VmId& vm) override {
    BOOTSEAL_TRY(const json::Value answer, client_->call_json("GET", target(vm)));
    BOOTSEAL_TRY(json::Reader reader, json::Reader::object(answer, "the vault's answer"));
    BOOTSEAL_TRY(const std::uint64_t generation, reader.unsigned_integer("generation"));
    return Generation{generation};
  }

  Result<ReleasedKey> release(const VmId& vm, Epoch epoch) override {
    net::Call call;
    call.method = "POST";
    call.target = target(vm, "/release");
    call.headers = {{"Content-Type", "application/json"}};
    call.body = json::serialize(owner(epoch));
    BOOTSEAL_TRY(net::Reply reply, client_->send(call));
    if (reply.status >= 400) return tl::unexpected(net::error_from_response(reply.status, reply.body));
    // The key's text exists in the reply and in the parsed document: both are wiped on every way out.
    Result<json::Value> answer = json::parse(reply.body);
    wipe_text(reply.body);
    if (!answer) return fail(ErrorCode::corrupt, "the vault's answer is not JSON");
    Result<ReleasedKey> released = read_release(*answer);
    if (json::Object* object = answer->if_object()) {
      if (json::Value* key = object->if_contains("key"); key != nullptr && key->is_string())
        wipe_text(key->get_string());
    }
    return released;
  }

  Status tell_generation(const VmId& vm, Epoch epoch, Generation generation) override {
    json::Value body = owner(epoch);
    body.get_object()["generation"] = generation.value;
    BOOTSEAL_TRY_STATUS(client_->call_json("PUT", target(vm, "/generation"), body));
    return {};
  }

  Status delete_key(const VmId& vm, Epoch epoch) override {
    BOOTSEAL_TRY_STATUS(client_->call_json("DELETE", target(vm), owner(epoch)));
    return {};
  }

  Result<TpmCertificates> certify_tpm(const VmId& vm, Epoch epoch, std::string_view vm_name,
                                      const TpmPublicKeys& keys) override {
    json::Value body = owner(epoch);
    json::Object& object = body.get_object();
    object["vmName"] = vm_name;
    if (!keys.ek_rsa.empty()) object["ekRsa"] = to_base64(keys.ek_rsa);
    if (!keys.ek_ecc.empty()) object["ekEcc"] = to_base64(keys.ek_ecc);
    object["ak"] = to_base64(keys.ak);
    BOOTSEAL_TRY(const json::Value answer,
                 client_->call_json("POST", fmt::format("/v1/certificates/tpm/{}", vm.to_string()), body));
    BOOTSEAL_TRY(json::Reader reader, json::Reader::object(answer, "the vault's answer"));
    TpmCertificates certificates;
    BOOTSEAL_TRY(certificates.ek_rsa, optional_bytes(reader, "ekRsaCertificate"));
    BOOTSEAL_TRY(certificates.ek_ecc, optional_bytes(reader, "ekEccCertificate"));
    BOOTSEAL_TRY(certificates.ak, reader.base64("akCertificate"));
    return certificates;
  }

 private:
  static std::string target(const VmId& vm, std::string_view rest = "") {
    return fmt::format("/v1/keys/{}{}", vm.to_string(), rest);
  }
  [[nodiscard]] json::Value owner(Epoch epoch) const {
    return json::Object{{"hostId", host_id_}, {"epoch", epoch.value}};
  }

  template <typename Text>
  static void wipe_text(Text& text) {
    crypto::wipe({reinterpret_cast<std::byte*>(text.data()), text.size()});
  }

  static Result<ReleasedKey> read_release(const json::Value& answer) {
    BOOTSEAL_TRY(json::Reader reader, json::Reader::object(answer, "the vault's answer"));
    BOOTSEAL_TRY(const std::uint64_t minimum, reader.unsigned_integer("minimumGeneration"));
    BOOTSEAL_TRY(Bytes key, reader.base64("key"));
    ReleasedKey released{crypto::Secret::copy_of(key), Generation{minimum}};
    crypto::wipe(key);
    if (released.key.size() != 32)
      return fail(ErrorCode::corrupt,
                  fmt::format("the vault's key has {} bytes, 32 were expected", released.key.size()));
    return released;
  }

  std::unique_ptr<net::Client> client_;
  std::string host_id_;
};

class AttestClient final : public Attestor {
 public:
  explicit AttestClient(std::unique_ptr<net::Client> client) : client_(std::move(client)) {}

  Result<Challenge> challenge(const VmId& vm) override {
    BOOTSEAL_TRY(const json::Value answer,
                 client_->call_json("POST", fmt::format("/v1/vms/{}/challenges", vm.to_string())));
    BOOTSEAL_TRY(json::Reader reader, json::Reader::object(answer, "the challenge"));
    Challenge challenge;
    BOOTSEAL_TRY(challenge.id, reader.string("challengeId"));
    json::Object parameters;
    for (const char* field : {"nonce", "pcrs", "bank"}) {
      BOOTSEAL_TRY(const json::Value* value, reader.value(field));
      parameters[field] = *value;
    }
    challenge.parameters = std::move(parameters);
    return challenge;
  }

  Result<json::Value> judge(const VmId& vm, const std::string& challenge_id,
                            const json::Value& evidence) override {
    const json::Value body = json::Object{{"challengeId", challenge_id}, {"evidence", evidence}};
    BOOTSEAL_TRY(json::Value verdict,
                 client_->call_json("POST", fmt::format("/v1/vms/{}/evidence", vm.to_string()), body));
    BOOTSEAL_TRY(json::Reader reader, json::Reader::object(verdict, "the verdict"));
    BOOTSEAL_TRY_STATUS(reader.string("status"));
    return verdict;
  }

 private:
  std::unique_ptr<net::Client> client_;
};

}  // namespace

Result<std::unique_ptr<Vault>> create_vault_client(const std::filesystem::path& socket, std::string host_id) {
  BOOTSEAL_TRY(auto client, unix_client(socket));
  return std::make_unique<VaultClient>(std::move(client), std::move(host_id));
}

Result<std::unique_ptr<Attestor>> create_attest_client(const std::filesystem::path& socket) {
  BOOTSEAL_TRY(auto client, unix_client(socket));
  return std::make_unique<AttestClient>(std::move(client));
}

}  // namespace bootseal::host
