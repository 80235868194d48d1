#include "test_tpm.h"

#include <set>

#include "bootseal/base/fds.h"

namespace bootseal::attest::testing {
namespace {

constexpr std::uint32_t kNoAction = 3, kApplication = 0x80000003;

std::filesystem::path data_folder() {
  return std::filesystem::path(BOOTSEAL_SOURCE_DIR) / "lib/attest/tests/data";
}

void put_sized(ByteWriter& writer, ByteSpan bytes) {
  writer.be16(static_cast<std::uint16_t>(bytes.size())).bytes(bytes);
}

Bytes marshal(const QuoteFields& fields, const PcrValues& values) {
  Bytes concatenated;
  for (const auto& [index, value] : values) {
    if ((fields.mask >> index & 1U) != 0) append(concatenated, value);
  }
  ByteWriter writer;
  writer.be32(fields.magic).be16(fields.type);
  put_sized(writer, Bytes(34, std::byte{0x0B}));
  put_sized(writer, fields.nonce);
  writer.be64(fields.clock_ms)
      .be32(fields.reset_count)
      .be32(fields.restart_count)
      .u8(fields.safe ? 1 : 0)
      .be64(0x2019102300163636);
  writer.be32(1).be16(fields.bank).u8(3);
  for (unsigned byte = 0; byte < 3; ++byte) writer.u8(static_cast<std::uint8_t>(fields.mask >> (8 * byte)));
  put_sized(writer, crypto::sha256(concatenated).view());
  writer.bytes(fields.trailing);
  return writer.take();
}

}  // namespace

const VmId& test_vm() {
  static const VmId vm = *VmId::parse("6ba7b810-9dad-11d1-80b4-00c04fd430c8");
  return vm;
}

TestTpm::TestTpm(const Site& site, const VmId& vm, crypto::KeyKind kind)
    : ak(*crypto::PrivateKey::generate(kind)),
      ak_certificate(*crypto::issue_certificate(
          site.key, site.certificate, ak.public_key(),
          crypto::tpm_ak_content(vm.to_string(), "web-1", kNow, std::chrono::days(365)))) {}

Evidence TestTpm::attest(const QuoteFields& fields, const PcrValues& values, ByteSpan log) const {
  Evidence evidence;
  evidence.quote = marshal(fields, values);
  const bool rsa = ak.kind() == crypto::KeyKind::rsa;
  const Bytes signature = *ak.sign(rsa ? crypto::SignatureScheme::rsa_pkcs1 : crypto::SignatureScheme::ecdsa,
                                   crypto::HashAlgorithm::sha256, evidence.quote);
  ByteWriter writer;
  writer.be16(rsa ? 0x0014 : 0x0018).be16(0x000B);
  if (rsa) {
    put_sized(writer, signature);
  } else {
    const Bytes numbers = *crypto::ecdsa_numbers_from_signature(signature, 32);
    put_sized(writer, ByteSpan(numbers).first(32));
    put_sized(writer, ByteSpan(numbers).last(32));
  }
  evidence.signature = writer.take();
  evidence.ak_certificate = ak_certificate.der();
  evidence.event_log = to_bytes(log);
  evidence.pcr_bank = "sha256";
  for (const auto& [index, value] : values) {
    if ((fields.mask >> index & 1U) != 0) evidence.pcr_values[index] = value;
  }
  return evidence;
}

EditableLog EditableLog::parse(ByteSpan log) {
  EditableLog result;
  const std::size_t header = 32 + load_le32(log, 28);
  result.header = to_bytes(log.first(header));
  std::size_t place = header;
  while (place + 16 < log.size()) {
    Record record;
    record.pcr = load_le32(log, place);
    record.type = load_le32(log, place + 4);
    BOOTSEAL_CHECK(load_le32(log, place + 8) == 1 && load_le16(log, place + 12) == 0x000B);
    record.digest = to_bytes(log.subspan(place + 14, 32));
    const std::uint32_t size = load_le32(log, place + 46);
    record.data = to_bytes(log.subspan(place + 50, size));
    place += 50 + size;
    result.records.push_back(std::move(record));
  }
  return result;
}

Bytes EditableLog::bytes() const {
  ByteWriter writer;
  writer.bytes(header);
  for (const Record& record : records) {
    writer.le32(record.pcr).le32(record.type).le32(1).le16(0x000B).bytes(record.digest);
    writer.le32(static_cast<std::uint32_t>(record.data.size())).bytes(record.data);
  }
  return writer.take();
}

PcrValues EditableLog::replay() const {
  PcrValues values;
  for (unsigned pcr = 0; pcr < 15; ++pcr) values[pcr] = Bytes(32);
  for (const Record& record : records) {
    if (record.type == kNoAction || record.pcr > 14) continue;
    values[record.pcr] = crypto::digest(crypto::HashAlgorithm::sha256, {values[record.pcr], record.digest});
  }
  return values;
}

std::vector<std::size_t> EditableLog::of(std::uint32_t pcr) const {
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < records.size(); ++i) {
    if (records[i].pcr == pcr) places.push_back(i);
  }
  return places;
}

Bytes read_log(const std::string& name) {
  return *read_file(data_folder() / (name + ".bin"), 1 << 20);
}

PcrValues read_pcrs(const std::string& name) {
  static const json::Value document = *json::parse(as_text(*read_file(data_folder() / "pcrs.json", 1 << 20)));
  PcrValues values;
  for (const auto& member : document.at(name).as_object()) {
    values[static_cast<unsigned>(std::stoul(std::string(member.key())))] =
        *from_hex(member.value().as_string());
  }
  return values;
}

Expectation debian_expectation() {
  const auto component = [](Role role, std::string file, std::string_view hash, std::string signer,
                            std::string version) {
    return Component{role,
                     std::move(file),
                     *crypto::Sha256Digest::parse(hash),
                     {std::move(signer)},
                     std::move(version),
                     std::nullopt};
  };
  Expectation expectation;
  expectation.vm_name = "web-1";
  expectation.baseline = {
      "debian-12/1.0.0",
      {component(Role::shim, "/EFI/BOOT/BOOTX64.EFI",
                 "80a66d53a945d2286fcadd780fae1c225aa732079cd67b5225dc78aaab4e2ff8",
                 "Microsoft Windows UEFI Driver Publisher", "16.1"),
       component(Role::grub, "/EFI/BOOT/grubx64.efi",
                 "a68f6d71ebddaa19751ff8d729f67d11b0df8e4c49400c3e7e90de16119e1265",
                 "Debian Secure Boot Signer", "2.06-13+deb12u2"),
       component(Role::kernel, "/vmlinuz", "5f21ff2c0d5d899842b28a8b19901ba72cf7a7ab93c02a77fadc6ff72be85b31",
                 "Debian Secure Boot Signer", "6.1.192-2")}};
  return expectation;
}

Expectation immutable_expectation() {
  const auto file = [](FileRole role, std::string name, std::string_view hash) {
    return MeasuredFile{role, std::move(name), *crypto::Sha256Digest::parse(hash)};
  };
  Expectation expectation = debian_expectation();
  expectation.baseline.measured_boot = MeasuredBoot{
      true,
      {file(FileRole::grub_config, "/EFI/debian/grub.cfg",
            "9fdf9dad7a4b8c30ba4281fe4da8c16917c45190c67917e631eacc38a2cdfb71"),
       file(FileRole::kernel, "/vmlinuz", "51349501a3d1ff83836437d2b365fd2d57f2feb8642d315e5181dec23d4c3275"),
       file(FileRole::initrd, "/initrd.gz",
            "21d64aa646bde29fdc00521fe0d40ef952edfa983da7fa3bb1b3c04164142411")},
      {"set timeout=0", "linux /vmlinuz console=ttyS0 quiet", "initrd /initrd.gz", "boot"},
      "/vmlinuz console=ttyS0 quiet"};
  return expectation;
}

Expectation expectation_of(const EditableLog& log, const std::vector<Role>& roles) {
  Expectation expectation;
  expectation.baseline.image = "learned";
  std::set<Bytes> seen;
  for (const std::size_t i : log.of(4)) {
    const Record& record = log.records[i];
    if (record.type != kApplication || !seen.insert(record.digest).second) continue;
    Component component;
    component.role = roles.at(expectation.baseline.components.size());
    component.file = std::string(role_name(component.role));
    component.authenticode_sha256 = *crypto::Sha256Digest::parse(to_hex(record.digest));
    expectation.baseline.components.push_back(std::move(component));
  }
  return expectation;
}

}  // namespace bootseal::attest::testing
