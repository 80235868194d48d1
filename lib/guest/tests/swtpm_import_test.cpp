// What swtpm writes to disk and to the wire, encrypted; openssl is the oracle of the old form.
#include "swtpm_import.h"

#include <gmock/gmock.h>

#include "bootseal/base/subprocess.h"
#include "bootseal/crypto/digest.h"
#include "state_envelope.h"
#include "support.h"
#include "swtpm_cipher.h"
#include "swtpm_volatile.h"

namespace bootseal::guest {
namespace {

crypto::Secret key_of(std::string_view hex) {
  return crypto::Secret::copy_of(from_hex(hex).value());
}

const crypto::Secret kSmall = key_of("00112233445566778899aabbccddeeff");
const crypto::Secret kLarge = key_of("00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
const crypto::Secret kOther = key_of("ff112233445566778899aabbccddeeff");

// AES-CBC by openssl, without its padding.
Bytes openssl_cbc(const crypto::Secret& key, const Bytes& vector, const Bytes& data, bool encrypt) {
  const test::TemporaryFolder folder;
  EXPECT_TRUE(replace_file(folder / "in", data));
  Command command;
  command.arguments = {"openssl",
                       "enc",
                       encrypt ? "-e" : "-d",
                       key.size() == 32 ? "-aes-256-cbc" : "-aes-128-cbc",
                       "-nopad",
                       "-K",
                       to_hex(key.view()),
                       "-iv",
                       to_hex(ByteSpan(vector).first(16)),
                       "-in",
                       (folder / "in").native(),
                       "-out",
                       (folder / "out").native()};
  EXPECT_EQ(run_command(command).value().exit_code, 0);
  return read_file(folder / "out", 1 << 20).value();
}

TEST(SwtpmCipher, IsAesCbcPaddedToTheKeysLengthWithAnHmacOverDataAndVector) {
  const Bytes plain = to_bytes("twenty bytes of text");
  for (const crypto::Secret* key : {&kSmall, &kLarge}) {
    const SwtpmCiphertext sealed = swtpm_encrypt(key->view(), plain);
    ASSERT_EQ(sealed.initialization_vector.size(), key->size());
    Bytes padded = openssl_cbc(*key, sealed.initialization_vector, sealed.data, false);
    Bytes expected = plain;
    expected.resize(32, std::byte{12});
    EXPECT_EQ(padded, expected);
    EXPECT_EQ(sealed.hmac, crypto::hmac(crypto::HashAlgorithm::sha256, key->view(),
                                        {sealed.data, sealed.initialization_vector}));
    EXPECT_EQ(swtpm_decrypt(key->view(), sealed.data, sealed.hmac, sealed.initialization_vector).value(),
              plain);
  }
}

TEST(SwtpmCipher, RefusesAnyChange) {
  const SwtpmCiphertext good = swtpm_encrypt(kSmall.view(), to_bytes("state"));
  const auto open = [](const SwtpmCiphertext& sealed, const crypto::Secret& key) {
    return swtpm_decrypt(key.view(), sealed.data, sealed.hmac, sealed.initialization_vector);
  };
  EXPECT_EQ(open(good, kOther).error().code, ErrorCode::permission_denied);
  for (Bytes SwtpmCiphertext::*part :
       {&SwtpmCiphertext::data, &SwtpmCiphertext::hmac, &SwtpmCiphertext::initialization_vector}) {
    SwtpmCiphertext changed = good;
    (changed.*part)[3] ^= std::byte{1};
    EXPECT_EQ(open(changed, kSmall).error().code, ErrorCode::permission_denied);
    changed = good;
    (changed.*part).pop_back();
    EXPECT_FALSE(open(changed, kSmall));
  }
}

// PKCS #5 vectors with swtpm's salt, by Python's hashlib.
TEST(SwtpmCipher, DerivesKeysOfPassphrasesAsSwtpmDoes) {
  EXPECT_EQ(to_hex(swtpm_key_from_passphrase_sha512(as_bytes("abc"), 32).view()),
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a");
  const auto python = [](std::string_view size) {
    Command command;
    command.arguments = {"python3", "-c",
                         "import hashlib; print(hashlib.pbkdf2_hmac('sha512', b'abc', b'swtpm', 1000, " +
                             std::string(size) + ").hex(), end='')"};
    return run_command(command).value().standard_output;
  };
  EXPECT_EQ(to_hex(swtpm_key_from_passphrase_pbkdf2(as_bytes("abc"), 16).view()), python("16"));
  EXPECT_EQ(to_hex(swtpm_key_from_passphrase_pbkdf2(as_bytes("abc"), 32).view()), python("32"));
}

TEST(StateEnvelope, OpensWhatItSealedWithTheSameKeysOnly) {
  const Bytes state(1321, std::byte{0x5A});
  for (const StateKeys& keys : {StateKeys{.file = &kSmall}, StateKeys{.migration = &kLarge},
                                StateKeys{.file = &kLarge, .migration = &kSmall}}) {
    const Bytes envelope = wrap_state(state, keys);
    EXPECT_EQ(unwrap_state(envelope, keys).value(), state);
    EXPECT_EQ(unwrap_state(envelope).error().code, ErrorCode::not_found);
    EXPECT_EQ(unwrap_state(envelope, {.file = &kOther, .migration = &kOther}).error().code,
              keys.migration == &kLarge                           ? ErrorCode::invalid_argument
              : keys.migration == &kSmall || keys.file == &kSmall ? ErrorCode::permission_denied
                                                                  : ErrorCode::invalid_argument);
    for (std::size_t size = 0; size < envelope.size(); size += 37)
      EXPECT_FALSE(unwrap_state(ByteSpan(envelope).first(size), keys));
  }
}

TEST(StateEnvelope, ReadsTheFormsOfTheFirstReleases) {
  const Bytes state = to_bytes("the state of an old TPM");
  Bytes padded = to_bytes(crypto::sha256(state).view());
  append(padded, state);
  const std::size_t padding = 16 - padded.size() % 16;
  padded.insert(padded.end(), padding, std::byte(padding));
  const Bytes sealed = openssl_cbc(kSmall, Bytes(16), padded, true);
  EXPECT_EQ(unwrap_state_file(sealed, &kSmall).value(), state) << "a file without a head";
  EXPECT_EQ(unwrap_state_file(sealed, &kOther).error().code, ErrorCode::permission_denied);
  EXPECT_EQ(unwrap_state_file(state, nullptr).value(), state);
  ByteWriter blob;  // a head of version 1, encrypted for migration
  blob.u8(1).u8(1).be16(10).be16(2).be32(static_cast<std::uint32_t>(10 + sealed.size())).bytes(sealed);
  EXPECT_EQ(unwrap_state(blob.view(), {.migration = &kSmall}).value(), state);
  EXPECT_EQ(unwrap_state(blob.view()).error().code, ErrorCode::not_found);
}

TEST(StateFile, MustBeEncryptedExactlyWhenAKeyIsGiven) {
  ByteWriter plain;
  plain.u8(2).u8(1).be16(10).be16(0).be32(19).be16(1).be32(3).text("abc");
  EXPECT_EQ(as_text(unwrap_state_file(plain.view(), nullptr).value()), "abc");
  EXPECT_EQ(unwrap_state_file(plain.view(), &kSmall).error().code, ErrorCode::permission_denied);
}

Bytes linear_file(std::uint32_t offset, std::uint32_t size, std::uint8_t version = 1) {
  ByteWriter file;
  file.le64(0x737774706d6c696e).u8(version).u8(0).le16(12 + 15 * 12);
  file.le32(offset).le32(size).le32(64).fill(14 * 12).text("permanent");
  return file.take();
}

TEST(LinearFile, HoldsItsStatesWhereItsHeadSays) {
  const auto files = read_linear_file(linear_file(192, 9)).value();
  EXPECT_EQ(as_text(files.permanent), "permanent");
  EXPECT_FALSE(files.volatile_state);
  EXPECT_FALSE(files.saved_state);
  Bytes with_saved = linear_file(192, 9);
  store_le32(with_saved, 12 + 2 * 12, 192 + 4);  // the third entry
  store_le32(with_saved, 12 + 2 * 12 + 4, 5);
  EXPECT_EQ(as_text(read_linear_file(with_saved)->saved_state.value()), "anent");
  EXPECT_EQ(read_linear_file(linear_file(0, 9)).error().code, ErrorCode::not_found);
  EXPECT_EQ(read_linear_file(linear_file(192, 10)).error().code, ErrorCode::corrupt);
  EXPECT_EQ(read_linear_file(linear_file(0xFFFFFFFF, 0xFFFFFFFF)).error().code, ErrorCode::corrupt);
  EXPECT_EQ(read_linear_file(linear_file(192, 9, 2)).error().code, ErrorCode::unsupported);
  EXPECT_EQ(read_linear_file(to_bytes("GUESTRTS and more text")).error().code, ErrorCode::corrupt);
}

TEST(VolatileFile, OpensOnlyWhole) {
  const VolatileOwner owner{VmId::random(), crypto::sha256(as_bytes("permanent"))};
  const Bytes file = seal_volatile(kLarge, owner, as_bytes("PCRs"));
  EXPECT_EQ(as_text(file).find("PCRs"), std::string_view::npos);
  const auto opened = open_volatile(kLarge, file).value();
  EXPECT_EQ(as_text(opened.state), "PCRs");
  EXPECT_EQ(opened.owner.vm, owner.vm);
  EXPECT_EQ(opened.owner.permanent, owner.permanent);
  for (std::size_t i = 0; i < file.size(); ++i) {
    EXPECT_FALSE(open_volatile(kLarge, ByteSpan(file).first(i))) << i;
    Bytes changed = file;
    changed[i] ^= std::byte{1};
    EXPECT_FALSE(open_volatile(kLarge, changed)) << i;
  }
}

}  // namespace
}  // namespace bootseal::guest
