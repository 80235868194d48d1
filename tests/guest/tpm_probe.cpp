// Runs in a guest of an end-to-end test: leaves things in the TPM, and says on a later boot whether they are
// still there.
//
//   tpm_probe write        PROBE-WRITTEN nv=HEX key=HEX sealed=HEX
//   tpm_probe check        PROBE-FOUND nv=HEX key=HEX sealed=HEX      (what is not there: FAILED:0xCODE or
//   FAILED:NAME) tpm_probe secret HEX   PROBE-SECRET nv=0x01500018
//
// nv = the random content of NV index 0x01500016; key = the name of the key at 0x81000100; sealed = a random
// secret sealed to PCR 7, whose sealed form lies in NV index 0x01500017. Exit code 0 when everything was done
// or found.
#include <cstdio>
#include <cstdlib>

#include "bootseal/tpm/client.h"
#include "bootseal/tpm/device.h"

namespace bootseal::probe {
namespace {

using tpm::Client;

constexpr tpm::Handle kValueIndex = 0x01500016, kSealedIndex = 0x01500017, kSecretIndex = 0x01500018;
constexpr tpm::Handle kKey = 0x81000100;
constexpr std::uint32_t kAttributes =
    tpm::kNvOwnerWrite | tpm::kNvOwnerRead | tpm::kNvAuthRead | tpm::kNvNoDa;
constexpr tpm::PcrSelection kSealedTo{tpm::Algorithm::sha256, 1U << 7};
constexpr std::uint16_t kRandomSize = 32;

Status write_index(Client& client, tpm::Handle index, ByteSpan content) {
  const Status removed = client.nv_undefine(tpm::kOwner, index);
  if (!removed && removed.error().code != ErrorCode::not_found) return removed;
  BOOTSEAL_TRY_STATUS(
      client.nv_define(tpm::kOwner, index, kAttributes, static_cast<std::uint16_t>(content.size())));
  return client.nv_write(tpm::kOwner, index, content);
}

// Makes the storage key at kKey, in the place of an older one.
Result<Bytes> make_key(Client& client) {
  BOOTSEAL_TRY(const tpm::CreatedObject key,
               client.create_primary(tpm::kOwner, tpm::srk_template_ecc_p256()));
  const Status removed = client.evict_control(tpm::kOwner, kKey, kKey);
  if (!removed && removed.error().code != ErrorCode::not_found) return tl::unexpected(removed.error());
  BOOTSEAL_TRY_STATUS(client.evict_control(tpm::kOwner, key.handle, kKey));
  BOOTSEAL_TRY_STATUS(client.flush_context(key.handle));
  return key.name;
}

Result<Bytes> seal_secret(Client& client) {
  BOOTSEAL_TRY(const Bytes secret, client.get_random(kRandomSize));
  BOOTSEAL_TRY(const tpm::SealedObject sealed, client.seal_to_pcrs(kKey, secret, kSealedTo));
  ByteWriter stored;
  tpm::write_sized(stored, sealed.private_part);
  tpm::write_sized(stored, sealed.public_area);
  BOOTSEAL_TRY_STATUS(write_index(client, kSealedIndex, stored.view()));
  return secret;
}

Result<Bytes> open_secret(Client& client) {
  BOOTSEAL_TRY(const Bytes stored, client.nv_read(tpm::kOwner, kSealedIndex));
  ByteReader reader(stored);
  BOOTSEAL_TRY(const ByteSpan private_part,
               tpm::read_sized(reader, stored.size(), "the sealed private part"));
  BOOTSEAL_TRY(const ByteSpan public_area, tpm::read_sized(reader, stored.size(), "the sealed public area"));
  return client.unseal_with_pcrs(kKey, {to_bytes(private_part), to_bytes(public_area)}, kSealedTo);
}

int complain(const Error& error) {
  std::printf("PROBE-FAILED %s\n", error.describe().c_str());
  return 1;
}

int write(Client& client) {
  const auto value = client.get_random(kRandomSize);
  if (!value) return complain(value.error());
  if (const Status written = write_index(client, kValueIndex, *value); !written)
    return complain(written.error());
  const auto key = make_key(client);
  if (!key) return complain(key.error());
  const auto secret = seal_secret(client);
  if (!secret) return complain(secret.error());
  std::printf("PROBE-WRITTEN nv=%s key=%s sealed=%s\n", to_hex(*value).c_str(), to_hex(*key).c_str(),
              to_hex(*secret).c_str());
  return 0;
}

// What was found, or why it was not: the TPM's code when it answered with one.
std::string found(Client& client, const Result<Bytes>& content) {
  if (content) return to_hex(*content);
  char text[64];
  if (client.last_response_code() != 0) {
    std::snprintf(text, sizeof text, "FAILED:0x%03x", static_cast<unsigned>(client.last_response_code()));
  } else {
    std::snprintf(text, sizeof text, "FAILED:%s", std::string(error_info(content.error().code).name).c_str());
  }
  return text;
}

int check(Client& client) {
  const auto value = client.nv_read(tpm::kOwner, kValueIndex);
  const std::string value_text = found(client, value);
  Result<Bytes> key = Bytes();
  if (const auto object = client.read_public(kKey)) {
    key = object->name;
  } else {
    key = tl::unexpected(object.error());
  }
  const std::string key_text = found(client, key);
  const auto secret = open_secret(client);
  std::printf("PROBE-FOUND nv=%s key=%s sealed=%s\n", value_text.c_str(), key_text.c_str(),
              found(client, secret).c_str());
  return value && key && secret ? 0 : 1;
}

int write_secret(Client& client, const char* hex) {
  const auto secret = from_hex(hex);
  if (!secret) return complain(secret.error());
  if (const Status written = write_index(client, kSecretIndex, *secret); !written)
    return complain(written.error());
  std::printf("PROBE-SECRET nv=0x%08x\n", static_cast<unsigned>(kSecretIndex));
  return 0;
}

int main_with(int argc, char** argv) {
  const std::string_view command = argc > 1 ? argv[1] : "";
  const bool known =
      ((command == "write" || command == "check") && argc == 2) || (command == "secret" && argc == 3);
  if (!known) {
    std::fputs("Usage: tpm_probe write | check | secret HEX\n", stderr);
    return 2;
  }
  // BOOTSEAL_PROBE_TPM names another device or a Unix socket.
  const char* path = std::getenv("BOOTSEAL_PROBE_TPM");
  auto device = tpm::Device::open(path == nullptr ? "" : path);
  if (!device) return complain(device.error());
  Client client(*device);
  if (command == "write") return write(client);
  return command == "check" ? check(client) : write_secret(client, argv[2]);
}

}  // namespace
}  // namespace bootseal::probe

int main(int argc, char** argv) {
  return bootseal::probe::main_with(argc, argv);
}
