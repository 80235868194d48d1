// Making the TPM of a new VM, in this process and without a second program.
//
// The keys are primaries of the endorsement hierarchy, so they can be made again from the TPM's seed at any
// time. NV indices of certificates: TCG EK Credential Profile 2.5, 2.2; their attributes are those that
// swtpm_setup gives them.
#include <fmt/format.h>
#include <libtpms/tpm_library.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json/object.hpp>
#include <cerrno>
#include <chrono>

#include "bootseal/base/clock.h"
#include "bootseal/crypto/x509.h"
#include "bootseal/guest/guestd.h"
#include "bootseal/log/log.h"
#include "bootseal/tpm/public_key.h"
#include "connection.h"
#include "management.h"
#include "tpm_engine.h"

namespace bootseal::guest {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::seconds kCertificatesLimit{60};
constexpr int kDescriptionVersion = 1;

// TPMA_NV: PPWRITE, WRITEDEFINE, PPREAD, OWNERREAD, AUTHREAD, NO_DA, PLATFORMCREATE. The firmware gives the
// platform hierarchy a random authorisation before anything else runs, so nobody in the guest writes these;
// everybody in it may read them.
constexpr std::uint32_t kCertificateAttributes = 0x42072001;

const std::vector<tpm::Algorithm> kBanks = {tpm::Algorithm::sha256};
const std::vector<tpm::Algorithm> kAllBanks = {tpm::Algorithm::sha1, tpm::Algorithm::sha256,
                                               tpm::Algorithm::sha384, tpm::Algorithm::sha512};

// Keys as SubjectPublicKeyInfo, or their certificates, DER.
struct KeyDocuments {
  Bytes ek_rsa;
  Bytes ek_ecc;
  Bytes ak;
};

Result<Bytes> read_variables(int fd) {
  ::lseek(fd, 0, SEEK_SET);  // the one who filled it may have left it at its end; a pipe has no place
  BOOTSEAL_TRY(Bytes image, read_to_end(fd, kVariableFlashSize + 1));
  if (image.size() != kVariableFlashSize) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("the variable flash for the new VM has {} bytes{}, it must have exactly {}",
                            std::min(image.size(), kVariableFlashSize),
                            image.size() > kVariableFlashSize ? " and more" : "", kVariableFlashSize));
  }
  return image;
}

// The one peer of a manufacturing guestd, spoken with in turns.
class Peer {
 public:
  Peer(UniqueFd socket, int signals) : connection_(std::move(socket)), signals_(signals) {}

  Status send(const std::string& line) {
    append(connection_.output(), as_bytes(line));
    while (!connection_.output().empty()) {
      if (!connection_.send_pending()) return gone();
      if (!connection_.output().empty())
        BOOTSEAL_TRY_STATUS(wait(POLLOUT, steady_clock::now() + kCertificatesLimit));
    }
    return {};
  }

  Result<std::string> receive(steady_clock::time_point deadline) {
    for (;;) {
      if (auto line = lines_.next()) return *std::move(line);
      BOOTSEAL_TRY_STATUS(wait(POLLIN, deadline));
      const auto received = connection_.receive();
      if (!received) return gone();
      BOOTSEAL_TRY_STATUS(lines_.append(*received));
    }
  }

 private:
  static tl::unexpected<Error> gone() {
    return fail(
        ErrorCode::unavailable,
        "the management peer went away before the TPM was finished; manufacture the guest state again");
  }

  Status wait(short event, steady_clock::time_point deadline) {
    for (;;) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - steady_clock::now()).count();
      if (left <= 0) {
        return fail(ErrorCode::timeout,
                    fmt::format("the TPM's certificates did not come within {} s; see whether "
                                "the vault is running",
                                kCertificatesLimit.count()));
      }
      std::array<pollfd, 2> polled{{{connection_.fd(), event, 0}, {signals_, POLLIN, 0}}};
      const int ready = ::poll(polled.data(), polled.size(), static_cast<int>(left));
      if (ready < 0 && errno != EINTR) return fail_errno(errno, "waiting for the management peer");
      if (ready <= 0) continue;
      if (polled[1].revents != 0)
        return fail(ErrorCode::cancelled, "stopped by a signal while the TPM was made");
      return {};
    }
  }

  Connection connection_;
  LineBuffer lines_;
  int signals_;
};

Status power_on(TpmEngine& engine, tpm::Client& client) {
  if (const TpmResult result = engine.power_on(); result != kTpmSuccess)
    return fail(ErrorCode::internal, fmt::format("the new TPM does not start: libtpms 0x{:x}", result));
  return client.startup();
}

Result<Bytes> endorsement_key(tpm::Client& client, ByteSpan key_template) {
  BOOTSEAL_TRY(const tpm::CreatedObject key, client.create_primary(tpm::kEndorsement, key_template));
  BOOTSEAL_TRY_STATUS(client.flush_context(key.handle));
  return tpm::subject_public_key_info(key.public_area);
}

Result<Bytes> attestation_key(tpm::Client& client) {
  BOOTSEAL_TRY(const tpm::CreatedObject key,
               client.create_primary(tpm::kEndorsement, tpm::ak_template_rsa2048()));
  BOOTSEAL_TRY_STATUS(client.evict_control(tpm::kOwner, key.handle, tpm::kAttestationKey));
  BOOTSEAL_TRY_STATUS(client.flush_context(key.handle));
  return tpm::subject_public_key_info(key.public_area);
}

Result<KeyDocuments> make_keys(tpm::Client& client) {
  KeyDocuments keys;
  BOOTSEAL_TRY(keys.ek_rsa, endorsement_key(client, tpm::ek_template_rsa2048()));
  BOOTSEAL_TRY(keys.ek_ecc, endorsement_key(client, tpm::ek_template_ecc_p256()));
  BOOTSEAL_TRY(keys.ak, attestation_key(client));
  return keys;
}

Status check_certificate(ByteSpan certificate, ByteSpan key, std::string_view name) {
  const auto wrong = [&](std::string_view reason) {
    return fail(ErrorCode::invalid_argument, fmt::format("the certificate '{}' {}", name, reason));
  };
  const auto parsed = crypto::Certificate::from_der(certificate);
  if (!parsed) return wrong("is no X.509 certificate: " + parsed.error().describe());
  const auto certified = parsed->public_key();
  if (!certified || !std::ranges::equal(certified->der(), key))
    return wrong("is for another key than this TPM's");
  return {};
}

Result<KeyDocuments> read_certificates(const ManagementRequest& request, const KeyDocuments& keys) {
  BOOTSEAL_TRY(json::Reader reader,
               json::Reader::object(request.parameters, "the parameters of certificates"));
  KeyDocuments certificates;
  BOOTSEAL_TRY(certificates.ek_rsa, reader.base64("ekRsaCertificate"));
  BOOTSEAL_TRY(certificates.ek_ecc, reader.base64("ekEccCertificate"));
  BOOTSEAL_TRY(certificates.ak, reader.base64("akCertificate"));
  BOOTSEAL_TRY_STATUS(reader.no_other_fields());
  BOOTSEAL_TRY_STATUS(check_certificate(certificates.ek_rsa, keys.ek_rsa, "ekRsaCertificate"));
  BOOTSEAL_TRY_STATUS(check_certificate(certificates.ek_ecc, keys.ek_ecc, "ekEccCertificate"));
  BOOTSEAL_TRY_STATUS(check_certificate(certificates.ak, keys.ak, "akCertificate"));
  return certificates;
}

Status store_certificate(tpm::Client& client, tpm::Handle index, ByteSpan certificate) {
  constexpr std::size_t kLargest = 2048;  // MAX_NV_INDEX_SIZE of libtpms
  if (certificate.size() > kLargest) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("a certificate has {} bytes, an NV index holds at most {}", certificate.size(),
                            kLargest));
  }
  BOOTSEAL_TRY_STATUS(client.nv_define(tpm::kPlatform, index, kCertificateAttributes,
                                       static_cast<std::uint16_t>(certificate.size())));
  return client.nv_write(tpm::kPlatform, index, certificate);
}

std::string libtpms_version() {
  const std::uint32_t version = TPMLIB_GetVersion();
  return fmt::format("{}.{}.{}", version >> 16, (version >> 8) & 0xFF, version & 0xFF);
}

std::string describe(const ManufactureOptions& options, const KeyDocuments& keys,
                     const KeyDocuments& certificates) {
  return json::serialize({{"formatVersion", kDescriptionVersion},
                          {"vmId", options.vm.to_string()},
                          {"vmName", options.vm_name},
                          {"createdTime", format_time(Clock::system().now())},
                          {"createdBy", "bootseal-guestd " BOOTSEAL_VERSION},
                          {"libtpms", libtpms_version()},
                          {"pcrBanks", {"sha256"}},
                          {"ekRsa", to_base64(keys.ek_rsa)},
                          {"ekEcc", to_base64(keys.ek_ecc)},
                          {"ak", to_base64(keys.ak)},
                          {"ekRsaCertificate", to_base64(certificates.ek_rsa)},
                          {"ekEccCertificate", to_base64(certificates.ek_ecc)},
                          {"akCertificate", to_base64(certificates.ak)}});
}

// Waits for the certificates, stores them and the description, and shuts the TPM down.
Status finish(const ManagementRequest& request, const KeyDocuments& keys, const ManufactureOptions& options,
              tpm::Client& client, TpmEngine& engine, StateKeeper& keeper) {
  BOOTSEAL_TRY(const KeyDocuments certificates, read_certificates(request, keys));
  BOOTSEAL_TRY_STATUS(store_certificate(client, tpm::kNvEkCertificateRsa2048, certificates.ek_rsa));
  BOOTSEAL_TRY_STATUS(store_certificate(client, tpm::kNvEkCertificateEccP256, certificates.ek_ecc));
  BOOTSEAL_TRY_STATUS(store_certificate(client, tpm::kNvAttestationKeyCertificate, certificates.ak));
  BOOTSEAL_TRY_STATUS(client.shutdown());
  engine.power_off();
  return keeper.commit(Blob::description, as_bytes(describe(options, keys, certificates)));
}

}  // namespace

Result<Generation> manufacture(std::unique_ptr<GuestState> state, ManufactureOptions options) {
  StateKeeper keeper(std::move(state));
  BOOTSEAL_TRY(const std::optional<Bytes> present, keeper.read(Blob::tpm_permanent));
  if (present) {
    return fail(ErrorCode::already_exists,
                "the guest state holds a TPM already; a second one is never made over it");
  }
  BOOTSEAL_TRY(const Bytes variables, read_variables(options.variables.get()));
  if (options.on_ready) BOOTSEAL_TRY_STATUS(options.on_ready(keeper.generation()));

  BOOTSEAL_TRY_STATUS(keeper.commit(Blob::uefi_flash, variables));
  TpmEngine engine(keeper, TpmEngine::WhenMissing::manufacture, [](const std::string&) {});
  tpm::Client client(engine);
  BOOTSEAL_TRY_STATUS(power_on(engine, client));
  BOOTSEAL_TRY_STATUS(client.pcr_allocate(kBanks, kAllBanks));
  BOOTSEAL_TRY_STATUS(power_on(engine, client));
  BOOTSEAL_TRY(const KeyDocuments keys, make_keys(client));

  Peer peer(std::move(options.management), options.signals.get());
  BOOTSEAL_TRY_STATUS(peer.send(management_event(
      "certificates.wanted",
      {{"ekRsa", to_base64(keys.ek_rsa)}, {"ekEcc", to_base64(keys.ek_ecc)}, {"ak", to_base64(keys.ak)}})));
  const auto deadline = steady_clock::now() + kCertificatesLimit;
  for (;;) {
    BOOTSEAL_TRY(const std::string line, peer.receive(deadline));
    const auto request = parse_management_request(line);
    if (!request || request->method != "certificates") {
      const Error error = request ? Error{ErrorCode::not_found,
                                          "the only method while a TPM is made is certificates", nullptr}
                                  : request.error();
      BOOTSEAL_TRY_STATUS(peer.send(management_error(request ? request->id : 0, error)));
      continue;
    }
    const Status finished = finish(*request, keys, options, client, engine, keeper);
    if (!finished) {
      static_cast<void>(peer.send(management_error(request->id, finished.error())));
      return tl::unexpected(finished.error());
    }
    const std::uint64_t generation = keeper.generation().value;
    // In one piece: the peer may go once it has its answer.
    BOOTSEAL_TRY_STATUS(peer.send(management_event("generation", {{"generation", generation}}) +
                                  management_result(request->id, {{"generation", generation}})));
    log::info("guest_state.manufactured", {{"vm", options.vm.to_string()}, {"generation", generation}});
    return keeper.generation();
  }
}

}  // namespace bootseal::guest
