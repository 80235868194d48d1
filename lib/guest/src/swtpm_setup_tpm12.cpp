// TPM 1.2 as swtpm_setup makes it. Commands: TCG TPM Main Specification, level 2, revision 116, Part 3;
// structures and numbers: Part 2.
#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "bootseal/crypto/digest.h"
#include "bootseal/crypto/handle.h"
#include "bootseal/crypto/x509.h"
#include "bootseal/tpm/public_key.h"
#include "swtpm_setup_internal.h"

namespace bootseal::guest {
namespace {

constexpr std::uint16_t kTagCommand = 0x00C1;
constexpr std::uint16_t kTagAuthorizedCommand = 0x00C2;
constexpr std::size_t kHeaderSize = 10;

enum Ordinal : std::uint32_t {
  kOiap = 0x0A,
  kTakeOwnership = 0x0D,
  kPhysicalEnable = 0x6F,
  kPhysicalSetDeactivated = 0x72,
  kCreateEndorsementKeyPair = 0x78,
  kStartup = 0x99,
  kNvDefineSpace = 0xCC,
  kNvWriteValue = 0xCD,
  kPhysicalPresence = 0x4000000A,
};

constexpr std::uint16_t kStartupClear = 1;
constexpr std::uint16_t kPresenceCommandEnable = 0x0020;
constexpr std::uint16_t kPresencePresent = 0x0008;
constexpr std::uint16_t kProtocolOwner = 0x0005;
constexpr std::size_t kSecretSize = 20;
constexpr std::size_t kModulusSize = 256;

// Defined once and for all by whoever makes the TPM: the D bit.
constexpr std::uint32_t kIndexEkCertificate = 0x1000F000;
constexpr std::uint32_t kIndexPlatformCertificate = 0x1000F002;
constexpr std::uint32_t kIndexLock = 0xFFFFFFFF;
constexpr std::uint32_t kOwnerReadAndWrite = 0x00020002;
constexpr std::size_t kLargestCertificate = 2048;  // of a command of 4096 bytes and an NV space of 20 KiB

// TCG PC Client Specific Implementation, 7.3.2: tag, type (full), size, tag of the full certificate.
constexpr std::uint16_t kTagStoredCertificate = 0x1001;
constexpr std::uint16_t kTagFullCertificate = 0x1002;
constexpr std::size_t kStoredHeaderSize = 7;

// TPM_KEY_PARMS of an RSA-2048 key with two primes and the usual exponent.
void put_rsa_parameters(ByteWriter& writer) {
  constexpr std::uint32_t kAlgorithmRsa = 1;
  constexpr std::uint16_t kOaepSha1 = 3;
  constexpr std::uint16_t kNoSignature = 1;
  writer.be32(kAlgorithmRsa).be16(kOaepSha1).be16(kNoSignature);
  writer.be32(12).be32(2048).be32(2).be32(0);
}

// TPM_KEY12 without a key in it: what the storage root key is to be.
Bytes storage_root_key() {
  constexpr std::uint16_t kTagKey12 = 0x0028;
  constexpr std::uint16_t kUsageStorage = 0x0011;
  constexpr std::uint8_t kAuthorizationAlways = 1;
  ByteWriter key;
  key.be16(kTagKey12).be16(0).be16(kUsageStorage).be32(0).u8(kAuthorizationAlways);
  put_rsa_parameters(key);
  key.be32(0).be32(0).be32(0);
  return key.take();
}

// TPM_NV_DATA_PUBLIC: no PCRs, every locality.
Bytes nv_public(std::uint32_t index, std::uint32_t attributes, std::size_t size) {
  constexpr std::uint16_t kTagNvPublic = 0x0018;
  constexpr std::uint16_t kTagNvAttributes = 0x0017;
  ByteWriter area;
  area.be16(kTagNvPublic).be32(index);
  for (int access = 0; access < 2; ++access) area.be16(3).fill(3).u8(0x1F).fill(kSecretSize);
  area.be16(kTagNvAttributes).be32(attributes).fill(3).be32(static_cast<std::uint32_t>(size));
  return area.take();
}

// RSAES-OAEP with SHA-1 and the label "TCPA" (Part 1, 31.1.1).
Result<Bytes> encrypt_to_ek(ByteSpan subject_public_key_info, ByteSpan secret) {
  const auto* der = reinterpret_cast<const unsigned char*>(subject_public_key_info.data());
  const crypto::Handle<EVP_PKEY, &EVP_PKEY_free> key(
      ::d2i_PUBKEY(nullptr, &der, static_cast<long>(subject_public_key_info.size())));
  const crypto::Handle<EVP_PKEY_CTX, &EVP_PKEY_CTX_free> context(key ? ::EVP_PKEY_CTX_new(key.get(), nullptr)
                                                                     : nullptr);
  const auto failed = [] {
    return bootseal::fail(ErrorCode::internal, "a secret could not be encrypted to the endorsement key");
  };
  if (!context || ::EVP_PKEY_encrypt_init(context.get()) != 1 ||
      ::EVP_PKEY_CTX_set_rsa_padding(context.get(), RSA_PKCS1_OAEP_PADDING) != 1 ||
      ::EVP_PKEY_CTX_set_rsa_oaep_md(context.get(), ::EVP_sha1()) != 1 ||
      ::EVP_PKEY_CTX_set_rsa_mgf1_md(context.get(), ::EVP_sha1()) != 1)
    return failed();
  constexpr std::string_view kLabel = "TCPA";
  void* label = ::OPENSSL_memdup(kLabel.data(), kLabel.size());
  if (::EVP_PKEY_CTX_set0_rsa_oaep_label(context.get(), label, static_cast<int>(kLabel.size())) != 1) {
    ::OPENSSL_free(label);
    return failed();
  }
  Bytes sealed(kModulusSize);
  std::size_t size = sealed.size();
  if (::EVP_PKEY_encrypt(context.get(), reinterpret_cast<unsigned char*>(sealed.data()), &size,
                         reinterpret_cast<const unsigned char*>(secret.data()), secret.size()) != 1)
    return failed();
  sealed.resize(size);
  return sealed;
}

class Setup12 {
 public:
  Setup12(GuestState& state, const Tpm12SetupOptions& options)
      : options_(options),
        keeper_(std::make_unique<BorrowedState>(state)),
        engine_(
            keeper_, TpmEngine::WhenMissing::manufacture,
            [this](const std::string& message) { failure_ = message; }, TpmVersion::v1_2) {}

  Status fill() {
    BOOTSEAL_TRY_STATUS(start());
    if (options_.create_ek) {
      BOOTSEAL_TRY(const Bytes modulus, create_endorsement_key());
      options_.say("Successfully created EK.");
      BOOTSEAL_TRY(const Bytes ek, subject_public_key_info(modulus));
      if (options_.take_ownership) {
        BOOTSEAL_TRY_STATUS(take_ownership(ek));
        options_.say("Successfully took ownership of the TPM.");
      }
      using Kind = TpmCertificateRequest::Kind;
      if (options_.ek_certificate) BOOTSEAL_TRY_STATUS(certificate(Kind::endorsement, modulus, ek));
      if (options_.platform_certificate) BOOTSEAL_TRY_STATUS(certificate(Kind::platform, modulus, ek));
    }
    if (options_.lock_nv) {
      BOOTSEAL_TRY_STATUS(define_index(kIndexLock, 0, 0));
      options_.say("Successfully locked NVRAM access.");
    }
    engine_.power_off();
    return {};
  }

 private:
  // The parameters of the response.
  Result<Bytes> run(std::string_view name, std::uint32_t ordinal, ByteSpan parameters,
                    std::uint16_t tag = kTagCommand) {
    ByteWriter command;
    command.be16(tag).be32(static_cast<std::uint32_t>(kHeaderSize + parameters.size())).be32(ordinal);
    command.bytes(parameters);
    Bytes response = engine_.execute(command.view());
    const std::uint32_t code = load_be32(response, 6);
    if (code != kTpmSuccess) {
      return bootseal::fail(ErrorCode::conflict, fmt::format("{} failed with 0x{:x}{}{}", name, code,
                                                             failure_.empty() ? "" : ": ", failure_));
    }
    return Bytes(response.begin() + kHeaderSize, response.end());
  }

  Status physical_presence(std::uint16_t value) {
    ByteWriter parameters;
    BOOTSEAL_TRY_STATUS(run("TSC_PhysicalPresence", kPhysicalPresence, parameters.be16(value).view()));
    return {};
  }

  // What a BIOS does with a TPM that comes from its maker: it is enabled and active from then on.
  Status start() {
    if (const TpmResult result = engine_.power_on(); result != kTpmSuccess)
      return bootseal::fail(ErrorCode::internal,
                            fmt::format("the TPM does not start: {} (0x{:x})", failure_, result));
    ByteWriter startup;
    BOOTSEAL_TRY_STATUS(run("TPM_Startup", kStartup, startup.be16(kStartupClear).view()));
    BOOTSEAL_TRY_STATUS(physical_presence(kPresenceCommandEnable));
    BOOTSEAL_TRY_STATUS(physical_presence(kPresencePresent));
    BOOTSEAL_TRY_STATUS(run("TPM_PhysicalEnable", kPhysicalEnable, {}));
    ByteWriter active;
    BOOTSEAL_TRY_STATUS(run("TPM_PhysicalSetDeactivated", kPhysicalSetDeactivated, active.u8(0).view()));
    return {};
  }

  // Its modulus.
  Result<Bytes> create_endorsement_key() {
    ByteWriter parameters;
    parameters.bytes(crypto::random_bytes(kSecretSize));  // antiReplay
    put_rsa_parameters(parameters);
    BOOTSEAL_TRY(const Bytes answer,
                 run("TPM_CreateEndorsementKeyPair", kCreateEndorsementKeyPair, parameters.view()));
    ByteReader reader(answer);  // TPM_PUBKEY: TPM_KEY_PARMS, TPM_STORE_PUBKEY
    BOOTSEAL_TRY_STATUS(reader.skip(8, "the algorithm of the endorsement key"));
    BOOTSEAL_TRY(const std::uint32_t parameters_size, reader.be32("the size of its parameters"));
    BOOTSEAL_TRY_STATUS(reader.skip(parameters_size, "the parameters of the endorsement key"));
    BOOTSEAL_TRY(const std::uint32_t size, reader.be32("the size of the endorsement key"));
    if (size != kModulusSize)
      return bootseal::fail(ErrorCode::corrupt, fmt::format("the endorsement key has {} bytes", size));
    BOOTSEAL_TRY(const ByteSpan modulus, reader.take(size, "the endorsement key"));
    return to_bytes(modulus);
  }

  static Result<Bytes> subject_public_key_info(const Bytes& modulus) {
    BOOTSEAL_TRY(const crypto::PublicKey key,
                 tpm::key_of({.type = tpm::kAlgRsa, .key_bits = 2048, .modulus = modulus}));
    return key.der();
  }

  // In an OIAP session of the new owner (Part 1, 13.2).
  Status take_ownership(const Bytes& ek) {
    BOOTSEAL_TRY(const Bytes owner, encrypt_to_ek(ek, options_.owner_secret.view()));
    BOOTSEAL_TRY(const Bytes root, encrypt_to_ek(ek, options_.srk_secret.view()));
    BOOTSEAL_TRY(const Bytes session, run("TPM_OIAP", kOiap, {}));
    ByteReader reader(session);
    BOOTSEAL_TRY(const std::uint32_t handle, reader.be32("the handle of an authorisation session"));
    BOOTSEAL_TRY(const ByteSpan nonce_even,
                 reader.take(kSecretSize, "the nonce of an authorisation session"));
    const Bytes nonce_odd = crypto::random_bytes(kSecretSize);
    constexpr std::array kSessionEnds{std::byte{0}};
    ByteWriter ordinal;
    ordinal.be32(kTakeOwnership);
    ByteWriter parameters;
    parameters.be16(kProtocolOwner);
    parameters.be32(static_cast<std::uint32_t>(owner.size())).bytes(owner);
    parameters.be32(static_cast<std::uint32_t>(root.size())).bytes(root);
    parameters.bytes(storage_root_key());
    const Bytes digest = crypto::digest(crypto::HashAlgorithm::sha1, {ordinal.view(), parameters.view()});
    const Bytes proof = crypto::hmac(crypto::HashAlgorithm::sha1, options_.owner_secret.view(),
                                     {digest, nonce_even, nonce_odd, kSessionEnds});
    parameters.be32(handle).bytes(nonce_odd).bytes(kSessionEnds).bytes(proof);
    BOOTSEAL_TRY_STATUS(run("TPM_TakeOwnership", kTakeOwnership, parameters.view(), kTagAuthorizedCommand));
    return {};
  }

  Status certificate(TpmCertificateRequest::Kind kind, const Bytes& modulus, const Bytes& ek) {
    const bool endorsement = kind == TpmCertificateRequest::Kind::endorsement;
    const TpmCertificateRequest request{
        .kind = kind, .key_parameter = to_hex(modulus), .subject_public_key_info = ek, .key_name = "rsa2048"};
    BOOTSEAL_TRY(const TpmDescription description, describe_tpm(engine_));
    BOOTSEAL_TRY(const Bytes made, options_.certify(request, description));
    if (made.empty() || made.size() > kLargestCertificate) {
      return bootseal::fail(ErrorCode::invalid_argument,
                            fmt::format("the {} certificate has {} bytes, its NV index holds 1 to {}",
                                        endorsement ? "EK" : "platform", made.size(), kLargestCertificate));
    }
    const Bytes content = with_stored_certificate_header(made);
    const std::uint32_t index = endorsement ? kIndexEkCertificate : kIndexPlatformCertificate;
    BOOTSEAL_TRY_STATUS(define_index(index, kOwnerReadAndWrite, content.size()));
    ByteWriter parameters;
    parameters.be32(index).be32(0).be32(static_cast<std::uint32_t>(content.size())).bytes(content);
    BOOTSEAL_TRY_STATUS(run("TPM_NV_WriteValue", kNvWriteValue, parameters.view()));
    options_.say(
        fmt::format("Successfully created NVRAM area for {} certificate.", endorsement ? "EK" : "Platform"));
    return {};
  }

  Status define_index(std::uint32_t index, std::uint32_t attributes, std::size_t size) {
    ByteWriter parameters;
    parameters.bytes(nv_public(index, attributes, size)).fill(kSecretSize);  // no authorisation of its own
    BOOTSEAL_TRY_STATUS(run("TPM_NV_DefineSpace", kNvDefineSpace, parameters.view()));
    return {};
  }

  const Tpm12SetupOptions& options_;
  StateKeeper keeper_;
  std::string failure_;
  TpmEngine engine_;
};

bool has_stored_header(ByteSpan certificate) {
  return certificate.size() >= kStoredHeaderSize && load_be16(certificate, 0) == kTagStoredCertificate;
}

}  // namespace

Status set_up_tpm12(GuestState& state, const Tpm12SetupOptions& options) {
  return Setup12(state, options).fill();
}

Bytes with_stored_certificate_header(ByteSpan der) {
  if (has_stored_header(der)) return to_bytes(der);
  ByteWriter stored;
  stored.be16(kTagStoredCertificate).u8(0).be16(static_cast<std::uint16_t>(der.size() + 2));
  stored.be16(kTagFullCertificate).bytes(der);
  return stored.take();
}

ByteSpan without_stored_certificate_header(ByteSpan certificate) {
  return has_stored_header(certificate) ? certificate.subspan(kStoredHeaderSize) : certificate;
}

}  // namespace bootseal::guest
