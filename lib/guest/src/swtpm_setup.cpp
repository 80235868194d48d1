#include "bootseal/guest/swtpm_setup.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <boost/json/object.hpp>

#include "bootseal/crypto/x509.h"
#include "bootseal/json/json.h"
#include "bootseal/tpm/public_key.h"
#include "swtpm_setup_internal.h"
#include "swtpm_templates.h"
#include "tpm_engine.h"

namespace bootseal::guest {
namespace {

// TPMA_NV: PPWRITE, WRITEDEFINE, PPREAD, OWNERREAD, AUTHREAD, NO_DA, PLATFORMCREATE.
constexpr std::uint32_t kCertificateAttributes = tpm::kNvPlatformWrite | tpm::kNvWriteDefine |
                                                 tpm::kNvPlatformRead | tpm::kNvOwnerRead | tpm::kNvAuthRead |
                                                 tpm::kNvNoDa | tpm::kNvPlatformCreate;
constexpr std::size_t kLargestIndex = 2048;  // MAX_NV_INDEX_SIZE of libtpms
constexpr tpm::Handle kPlatformCertificate = 0x01C08000;

// Where a key, its certificate and its template go.
struct KeyPlace {
  std::string_view words;  // of the log
  std::string_view name;   // of certificate files
  tpm::Handle key;
  tpm::Handle certificate;
  tpm::Handle key_template;
};
constexpr KeyPlace kRsa2048{"RSA 2048", "rsa2048", 0x81010001, 0x01C00002, 0x01C00004};
constexpr KeyPlace kRsa3072{"RSA 3072", "rsa3072", 0x8101001C, 0x01C0001C, 0x01C0001D};
constexpr KeyPlace kP384{"ECC", "secp384r1", 0x81010016, 0x01C00016, 0x01C00017};

const std::vector<tpm::Algorithm> kAllBanks = {tpm::Algorithm::sha1, tpm::Algorithm::sha256,
                                               tpm::Algorithm::sha384, tpm::Algorithm::sha512};

class Setup {
 public:
  Setup(GuestState& state, const TpmSetupOptions& options, TpmEngine::WhenMissing when_missing)
      : options_(options),
        keeper_(std::make_unique<BorrowedState>(state)),
        engine_(keeper_, when_missing, [this](const std::string& message) { failure_ = message; }),
        client_(engine_) {}

  Status fill() {
    BOOTSEAL_TRY_STATUS(start());
    if (options_.create_spk) BOOTSEAL_TRY_STATUS(storage_key());
    const EkUse use = !options_.allow_signing ? EkUse::decrypt_restricted
                      : options_.decryption   ? EkUse::sign_and_decrypt
                                              : EkUse::sign;
    if (options_.create_ek) {
      const KeyPlace& rsa = options_.rsa_bits == 2048 ? kRsa2048 : kRsa3072;
      BOOTSEAL_TRY_STATUS(endorsement_key(rsa, swtpm_ek_template_rsa(options_.rsa_bits, use)));
      BOOTSEAL_TRY_STATUS(endorsement_key(kP384, swtpm_ek_template_p384(use)));
    }
    return finish();
  }

  Status reconfigure() {
    BOOTSEAL_TRY_STATUS(start());
    return finish();
  }

 private:
  Status start() {
    if (const TpmResult result = engine_.power_on(); result != kTpmSuccess)
      return bootseal::fail(ErrorCode::internal,
                            fmt::format("the TPM does not start: {} (0x{:x})", failure_, result));
    return client_.startup();
  }

  Status finish() {
    BOOTSEAL_TRY_STATUS(activate_banks());
    BOOTSEAL_TRY_STATUS(client_.shutdown());
    engine_.power_off();
    return {};
  }

  Status storage_key() {
    const Bytes key_template =
        options_.spk_ecc ? swtpm_storage_template_p384() : swtpm_storage_template_rsa(options_.rsa_bits);
    BOOTSEAL_TRY(const tpm::CreatedObject key, client_.create_primary(tpm::kOwner, key_template));
    BOOTSEAL_TRY_STATUS(client_.evict_control(tpm::kOwner, key.handle, tpm::kStorageRootKey));
    BOOTSEAL_TRY_STATUS(client_.flush_context(key.handle));
    options_.say(
        fmt::format("Successfully created storage primary key with handle 0x{:x}.", tpm::kStorageRootKey));
    return {};
  }

  Status endorsement_key(const KeyPlace& place, ByteSpan key_template) {
    BOOTSEAL_TRY(const tpm::CreatedObject key, client_.create_primary(tpm::kEndorsement, key_template));
    BOOTSEAL_TRY_STATUS(client_.evict_control(tpm::kOwner, key.handle, place.key));
    BOOTSEAL_TRY_STATUS(client_.flush_context(key.handle));
    options_.say(fmt::format("Successfully created {} EK with handle 0x{:x}.", place.words, place.key));
    if (options_.allow_signing) {
      BOOTSEAL_TRY_STATUS(write_index(place.key_template, key_template, "EK template"));
      options_.say(fmt::format("Successfully created NVRAM area 0x{:x} for {} EK template.",
                               place.key_template, place.words));
    }
    using Kind = TpmCertificateRequest::Kind;
    if (options_.ek_certificates) BOOTSEAL_TRY_STATUS(certificate(Kind::endorsement, place, key.public_area));
    // One for the platform, beside the first key.
    if (options_.platform_certificate && place.key != kP384.key)
      return certificate(Kind::platform, place, key.public_area);
    return {};
  }

  Status certificate(TpmCertificateRequest::Kind kind, const KeyPlace& place, ByteSpan public_area) {
    const bool ek = kind == TpmCertificateRequest::Kind::endorsement;
    TpmCertificateRequest request{.kind = kind, .key_name = std::string(place.name)};
    BOOTSEAL_TRY(request.subject_public_key_info, tpm::subject_public_key_info(public_area));
    BOOTSEAL_TRY(request.key_parameter, key_parameter(public_area));
    BOOTSEAL_TRY(const TpmDescription description, describe_tpm(engine_));
    BOOTSEAL_TRY(const Bytes der, options_.certify(request, description));
    // The tool that made it may know forms that we do not: it goes in as it is, as with swtpm_setup.
    if (const auto parsed = crypto::Certificate::from_der(der); !parsed)
      options_.say(
          fmt::format("Warning: the certificate is no X.509 certificate: {}", parsed.error().describe()));
    const tpm::Handle index = ek ? place.certificate : kPlatformCertificate;
    BOOTSEAL_TRY_STATUS(write_index(index, der, ek ? "EK certificate" : "platform certificate"));
    options_.say(ek ? fmt::format("Successfully created NVRAM area 0x{:x} for {} EK certificate.", index,
                                  place.key == kP384.key ? "ECC" : fmt::format("RSA {}", options_.rsa_bits))
                    : fmt::format("Successfully created NVRAM area 0x{:x} for platform certificate.", index));
    return {};
  }

  Status write_index(tpm::Handle index, ByteSpan content, std::string_view purpose) {
    if (content.empty() || content.size() > kLargestIndex) {
      return bootseal::fail(ErrorCode::invalid_argument,
                            fmt::format("the {} has {} bytes, an NV index holds 1 to {}", purpose,
                                        content.size(), kLargestIndex));
    }
    BOOTSEAL_TRY_STATUS(client_.nv_define(tpm::kPlatform, index, kCertificateAttributes,
                                          static_cast<std::uint16_t>(content.size())));
    BOOTSEAL_TRY_STATUS(client_.nv_write(tpm::kPlatform, index, content));
    if (options_.lock_nv) return client_.nv_write_lock(tpm::kPlatform, index);
    return {};
  }

  // TPMT_PUBLIC ends with the unique part: a modulus, or two coordinates (Part 2, 12.2.4).
  static Result<std::string> key_parameter(ByteSpan public_area) {
    constexpr std::size_t kMaximum = 512;
    ByteReader reader(public_area);
    BOOTSEAL_TRY(const std::uint16_t type, reader.be16("the type of a key"));
    BOOTSEAL_TRY_STATUS(reader.skip(6, "the name algorithm and attributes of a key"));
    BOOTSEAL_TRY_STATUS(tpm::read_sized(reader, kMaximum, "the policy of a key"));
    BOOTSEAL_TRY(const std::uint16_t symmetric, reader.be16("the symmetric algorithm of a key"));
    if (symmetric != tpm::kAlgNull) BOOTSEAL_TRY_STATUS(reader.skip(4, "the symmetric parameters of a key"));
    const bool rsa = type == tpm::kAlgRsa;
    BOOTSEAL_TRY_STATUS(reader.skip(rsa ? 8 : 6, "the parameters of a key"));
    BOOTSEAL_TRY(const ByteSpan first, tpm::read_sized(reader, kMaximum, "the unique part of a key"));
    if (rsa) return to_hex(first);
    BOOTSEAL_TRY(const ByteSpan second, tpm::read_sized(reader, kMaximum, "the second coordinate of a key"));
    return fmt::format("x={},y={},id=secp384r1", to_hex(first), to_hex(second));
  }

  // As swtpm_setup: names that libtpms does not have are left out, as long as one is left.
  Status activate_banks() {
    if (options_.pcr_banks.empty()) return {};
    std::vector<tpm::Algorithm> banks;
    for (const std::string& name : options_.pcr_banks) {
      const auto bank = tpm::algorithm_from_name(name);
      if (bank && std::ranges::find(kAllBanks, *bank) != kAllBanks.end() &&
          std::ranges::find(banks, *bank) == banks.end())
        banks.push_back(*bank);
    }
    if (banks.empty()) {
      return bootseal::fail(
          ErrorCode::invalid_argument,
          fmt::format("No PCR banks could be allocated. None of the selected algorithms are "
                      "supported: {}",
                      fmt::join(options_.pcr_banks, ",")));
    }
    BOOTSEAL_TRY_STATUS(client_.pcr_allocate(banks, kAllBanks));
    const auto names = [](const std::vector<tpm::Algorithm>& list) {
      std::vector<std::string_view> result;
      for (const tpm::Algorithm bank : list) result.push_back(tpm::algorithm_name(bank));
      return fmt::format("{}", fmt::join(result, ","));
    };
    options_.say(
        fmt::format("Successfully activated PCR banks {} among {}.", names(banks), names(kAllBanks)));
    return {};
  }

  const TpmSetupOptions& options_;
  StateKeeper keeper_;
  std::string failure_;
  TpmEngine engine_;
  tpm::Client client_;
};

}  // namespace

Result<TpmDescription> describe_tpm(const TpmEngine& engine) {
  constexpr std::uint64_t kSpecificationAndAttributes = 0x3;  // of GET_INFO
  BOOTSEAL_TRY(const json::Value document, json::parse(engine.information(kSpecificationAndAttributes)));
  BOOTSEAL_TRY(json::Reader whole, json::Reader::object(document, "libtpms' description of the TPM"));
  BOOTSEAL_TRY(json::Reader specification, whole.object("TPMSpecification"));
  BOOTSEAL_TRY(json::Reader attributes, whole.object("TPMAttributes"));
  TpmDescription description;
  BOOTSEAL_TRY(description.family, specification.string("family"));
  BOOTSEAL_TRY(description.level, specification.integer("level"));
  BOOTSEAL_TRY(description.revision, specification.integer("revision"));
  BOOTSEAL_TRY(description.manufacturer, attributes.string("manufacturer"));
  BOOTSEAL_TRY(description.model, attributes.string("model"));
  BOOTSEAL_TRY(description.version, attributes.string("version"));
  return description;
}

Status set_up_tpm(GuestState& state, const TpmSetupOptions& options) {
  return Setup(state, options, TpmEngine::WhenMissing::manufacture).fill();
}

Status reconfigure_tpm(GuestState& state, const TpmSetupOptions& options) {
  return Setup(state, options, TpmEngine::WhenMissing::refuse).reconfigure();
}

}  // namespace bootseal::guest
