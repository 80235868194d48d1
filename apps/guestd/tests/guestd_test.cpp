// The program as a whole: manufacture, refusals, crashes, and what tpm2-tools and openssl say about its TPM.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <csignal>

#include "guestd_process.h"

namespace bootseal::guest {
namespace {

using namespace std::chrono_literals;
using test::ControlClient;
using test::Guestd;
using test::kNvIndex;
using test::kNvNoLockout;
using test::Socket;
using test::Vm;
using testing::HasSubstr;
using testing::Not;

class GuestdProgram : public testing::Test {
 protected:
  void make() { vm_.minimum_generation = test::make_guest_state(vm_, ca_, test::erased_flash()); }
  static int exit_code(ErrorCode code) { return error_info(code).exit_code; }
  void expect_refusal(ErrorCode code) {
    const Bytes before = read_file(vm_.state(), 8 << 20).value_or(Bytes());
    Guestd guestd = Guestd::serve(vm_);
    EXPECT_EQ(guestd.refusal(), error_info(code).name) << json::serialize(guestd.first_line());
    EXPECT_EQ(guestd.wait(), exit_code(code));
    EXPECT_EQ(read_file(vm_.state(), 8 << 20).value_or(Bytes()), before) << "a refused file is not changed";
  }
  // A tool of tpm2-tools against the TPM of the running guestd.
  std::string tool(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin() + 1, {"-T", fmt::format("cmd:{} {}", TPM_RELAY, vm_.tpm().native())});
    auto output = run_checked({.arguments = arguments}, {}, 60s);
    EXPECT_TRUE(output) << arguments[0] << ": " << output.error().describe();
    return output.value_or("");
  }
  std::string path(std::string_view name) const { return (vm_.folder / name).native(); }
  static std::string openssl(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "openssl");
    auto output = run_checked({.arguments = arguments}, {}, 60s);
    EXPECT_TRUE(output) << output.error().describe();
    return output.value_or("");
  }

  Vm vm_;
  Vm other_;
  test::SiteCa ca_;
};

TEST_F(GuestdProgram, MakesATpmThatToolsKnow) {
  make();
  Guestd guestd = Guestd::serve(vm_);
  ASSERT_TRUE(guestd.ready()) << guestd.log();
  {
    ControlClient control(vm_.tpm());
    Socket data = control.open_data_channel();
    ASSERT_EQ(control.init(), 0U);
    test::SocketTransport transport(data);
    ASSERT_TRUE(tpm::Client(transport).startup());
  }
  ASSERT_TRUE(replace_file(path("ca.pem"), as_bytes(ca_.certificate().pem())));
  for (const auto& [index, name] :
       {std::pair{"0x01C00002", "ek-rsa"}, {"0x01C0000A", "ek-ecc"}, {"0x01C101D0", "ak"}}) {
    tool({"tpm2_nvread", "-C", "o", index, "-o", path(name)});
    openssl({"x509", "-inform", "DER", "-in", path(name), "-out", path(name) + ".pem"});
    openssl({"x509", "-in", path(name) + ".pem", "-pubkey", "-noout", "-out", path(name) + ".pub"});
    // The extended key usages and the critical names of TPM certificates are none that openssl has a purpose
    // for.
    openssl(
        {"verify", "-CAfile", path("ca.pem"), "-purpose", "any", "-ignore_critical", path(name) + ".pem"});
    EXPECT_THAT(tool({"tpm2_nvreadpublic", index}),
                HasSubstr("ppwrite|writedefine|ppread|ownerread|authread|no_da|written|platformcreate"));
  }
  // The tools make the EKs again from the TCG's templates: the keys in the certificates are these.
  tool({"tpm2_createek", "-G", "rsa", "-c", path("rsa.ctx"), "-f", "pem", "-u", path("rsa.pem")});
  tool({"tpm2_flushcontext", "-t"});
  tool({"tpm2_createek", "-G", "ecc", "-c", path("ecc.ctx"), "-f", "pem", "-u", path("ecc.pem")});
  tool({"tpm2_flushcontext", "-t"});
  EXPECT_EQ(read_file(path("rsa.pem"), 65536).value(), read_file(path("ek-rsa.pub"), 65536).value());
  EXPECT_EQ(read_file(path("ecc.pem"), 65536).value(), read_file(path("ek-ecc.pub"), 65536).value());
  tool({"tpm2_readpublic", "-c", "0x81000003", "-f", "pem", "-o", path("ak.pem")});
  EXPECT_EQ(read_file(path("ak.pem"), 65536).value(), read_file(path("ak.pub"), 65536).value());

  const std::string banks = tool({"tpm2_getcap", "pcrs"});
  EXPECT_THAT(banks, HasSubstr("sha256: [ 0, 1, 2, 3,"));
  EXPECT_THAT(banks, HasSubstr("sha1: [ ]"));
  EXPECT_THAT(banks, HasSubstr("sha384: [ ]"));
  EXPECT_THAT(banks, HasSubstr("sha512: [ ]"));
  tool({"tpm2_quote", "-c", "0x81000003", "-l", "sha256:0,7", "-q", "c0ffee", "-m", path("quote"), "-s",
        path("signature"), "-g", "sha256"});
  const auto checked =
      run_checked({.arguments = {"tpm2_checkquote", "-u", path("ak.pem"), "-m", path("quote"), "-s",
                                 path("signature"), "-q", "c0ffee", "-g", "sha256"}},
                  {}, 60s);
  EXPECT_TRUE(checked) << checked.error().describe();

  Socket management = Socket::connect(vm_.management());
  const json::Value status = test::manage(management, "status").at("result");
  const json::Value& description = status.at("description");
  EXPECT_EQ(status.at("vmId").as_string(), vm_.id.to_string());
  EXPECT_EQ(description.at("vmName").as_string(), "test-vm");
  EXPECT_EQ(from_base64(description.at("akCertificate").as_string()).value(),
            read_file(path("ak"), 65536).value());
  test::manage(management, "shutdown");
  EXPECT_EQ(guestd.wait(), 0) << guestd.log();
}

TEST_F(GuestdProgram, KeepsAnAcknowledgedNvWriteWhenItIsKilled) {
  make();
  for (std::uint8_t round = 1; round <= 3; ++round) {
    Guestd guestd = Guestd::serve(vm_);
    ASSERT_TRUE(guestd.ready()) << guestd.log();
    ControlClient control(vm_.tpm());
    Socket data = control.open_data_channel();
    test::SocketTransport transport(data);
    tpm::Client client(transport);
    ASSERT_EQ(control.init(), 0U);
    ASSERT_TRUE(client.startup());
    if (round == 1) {
      ASSERT_TRUE(client.nv_define(tpm::kOwner, kNvIndex, kNvNoLockout, 8));
    } else {
      EXPECT_EQ(client.nv_read(kNvIndex, kNvIndex).value(), Bytes(8, static_cast<std::byte>(round - 1)));
    }
    ASSERT_TRUE(client.nv_write(kNvIndex, kNvIndex, Bytes(8, static_cast<std::byte>(round))));
    guestd.signal(SIGKILL);
    EXPECT_EQ(guestd.wait(), 128 + SIGKILL);
  }
}

TEST_F(GuestdProgram, KeepsTheChangeThatMakesAVariableLiveWhenItIsKilled) {
  make();
  constexpr std::uint64_t kRecord = 0x64;
  const auto exchange = [](Socket& socket, std::uint16_t type, std::uint64_t offset, ByteSpan data,
                           std::uint32_t size) {
    ByteWriter request;
    request.be32(0x25609513).be16(0).be16(type).be64(1).be64(offset).be32(size).bytes(data);
    socket.send(request.view());
    return socket.receive(16 + (type == 0 ? size : 0));
  };
  const auto open_export = [&] {
    Socket socket = Socket::connect(vm_.nbd());
    ByteWriter handshake;
    handshake.be32(3).text("IHAVEOPT").be32(1).be32(0);
    socket.receive(18);
    socket.send(handshake.view());
    socket.receive(10);
    return socket;
  };
  {
    Guestd guestd = Guestd::serve(vm_);
    ASSERT_TRUE(guestd.ready()) << guestd.log();
    Socket nbd = open_export();
    for (const int state : {0x7F, 0x3F}) {
      const Bytes header{std::byte{0xAA}, std::byte{0x55}, static_cast<std::byte>(state)};
      exchange(nbd, 1, kRecord, header, 3);
    }
    guestd.signal(SIGKILL);
    guestd.wait();
  }
  Guestd guestd = Guestd::serve(vm_);
  ASSERT_TRUE(guestd.ready()) << guestd.log();
  Socket nbd = open_export();
  EXPECT_EQ(to_hex(ByteSpan(exchange(nbd, 0, kRecord, {}, 3)).subspan(16)), "aa553f");
}

TEST_F(GuestdProgram, RefusesEachBadGuestStateWithItsOwnCode) {
  make();
  const Bytes good = read_file(vm_.state(), 8 << 20).value();

  vm_.minimum_generation += 1;
  expect_refusal(ErrorCode::guest_state_stale);
  vm_.minimum_generation -= 1;

  std::swap(vm_.id, other_.id);
  expect_refusal(ErrorCode::guest_state_foreign);
  std::swap(vm_.id, other_.id);

  std::swap(vm_.key, other_.key);
  expect_refusal(ErrorCode::guest_state_wrong_key);
  std::swap(vm_.key, other_.key);

  ASSERT_TRUE(replace_file(vm_.state(), {}));
  expect_refusal(ErrorCode::guest_state_missing);

  Bytes damaged = good;
  std::fill(damaged.begin(), damaged.begin() + 8192, std::byte{0x11});
  ASSERT_TRUE(replace_file(vm_.state(), damaged));
  expect_refusal(ErrorCode::guest_state_damaged);

  ASSERT_TRUE(replace_file(vm_.state(), good));
  Guestd first = Guestd::serve(vm_);
  ASSERT_TRUE(first.ready()) << first.log();
  EXPECT_EQ(first.first_line().at("generation").to_number<std::uint64_t>(), vm_.minimum_generation + 1)
      << "each start is a generation of its own";
  EXPECT_EQ(Guestd::serve(vm_).refusal(), "Conflict");
}

TEST_F(GuestdProgram, RefusesAKeyOfAnotherLength) {
  make();
  for (const std::size_t size : std::initializer_list<std::size_t>{0, 31, 33}) {
    vm_.key = crypto::Secret::random(size);
    Guestd guestd = Guestd::serve(vm_);
    EXPECT_EQ(guestd.refusal(), "InvalidArgument");
    EXPECT_EQ(guestd.wait(), exit_code(ErrorCode::invalid_argument));
  }
}

TEST_F(GuestdProgram, EndsOnSigtermWithTheTpmShutDown) {
  make();
  Guestd guestd = Guestd::serve(vm_);
  ASSERT_TRUE(guestd.ready()) << guestd.log();
  ControlClient control(vm_.tpm());
  Socket data = control.open_data_channel();
  test::SocketTransport transport(data);
  tpm::Client client(transport);
  ASSERT_EQ(control.init(), 0U);
  ASSERT_TRUE(client.startup());
  Socket management = Socket::connect(vm_.management());
  const auto generation =
      test::manage(management, "status").at("result").at("generation").to_number<std::uint64_t>();
  guestd.signal(SIGTERM);
  EXPECT_EQ(guestd.wait(), 0) << guestd.log();
  std::uint64_t last = 0;
  while (!management.at_end())
    last = json::parse(management.receive_line()).value().at("generation").to_number<std::uint64_t>();
  EXPECT_EQ(last, generation + 1) << "TPM2_Shutdown was committed and told";
}

TEST_F(GuestdProgram, RunsWithoutRightsAndWithoutSecretsInItsLog) {
  make();
  Guestd guestd = Guestd::serve(vm_);
  ASSERT_TRUE(guestd.ready()) << guestd.log();
  const auto proc = [&](std::string_view file) {
    const UniqueFd fd = open_file(fmt::format("/proc/{}/{}", guestd.process().pid, file), O_RDONLY).value();
    return std::string(as_text(read_to_end(fd.get(), 65536).value()));
  };
  EXPECT_THAT(proc("status"), HasSubstr("Seccomp:\t2"));
  EXPECT_THAT(proc("status"), HasSubstr("NoNewPrivs:\t1"));
  EXPECT_THAT(proc("cmdline"), Not(HasSubstr(to_hex(vm_.key.view()))));
  guestd.signal(SIGTERM);
  EXPECT_EQ(guestd.wait(), 0);
  EXPECT_THAT(guestd.log(), HasSubstr("guestd.stopped"));
  EXPECT_THAT(guestd.log(), Not(HasSubstr(to_hex(vm_.key.view()))));
}

TEST_F(GuestdProgram, MakesNothingOverAGuestStateThatIsThere) {
  make();
  const Bytes before = read_file(vm_.state(), 8 << 20).value();
  Guestd guestd = Guestd::manufacture(vm_, test::erased_flash());
  EXPECT_EQ(guestd.refusal(), "AlreadyExists");
  EXPECT_EQ(guestd.wait(), exit_code(ErrorCode::already_exists));
  EXPECT_EQ(read_file(vm_.state(), 8 << 20).value(), before);
}

TEST_F(GuestdProgram, GoesOnWithTheVaultsCountOfGenerationsForAReplacedGuestState) {
  Guestd guestd = Guestd::manufacture(vm_, test::erased_flash(), 1000);
  ASSERT_TRUE(guestd.ready());
  EXPECT_EQ(guestd.first_line().at("generation").to_number<std::uint64_t>(), 1001U);
}

TEST_F(GuestdProgram, RefusesVariablesOfAnotherSize) {
  for (const std::size_t size : {std::size_t{0}, kVariableFlashSize - 1, kVariableFlashSize + 1}) {
    const Vm vm;
    Guestd guestd = Guestd::manufacture(vm, Bytes(size));
    EXPECT_EQ(guestd.refusal(), "InvalidArgument");
    EXPECT_EQ(guestd.wait(), exit_code(ErrorCode::invalid_argument));
  }
}

TEST_F(GuestdProgram, RefusesCertificatesForAnotherKeyAndLeavesNoUsableGuestState) {
  Guestd guestd = Guestd::manufacture(vm_, test::erased_flash());
  ASSERT_TRUE(guestd.ready());
  json::Value wanted = json::parse(guestd.management->receive_line()).value();
  EXPECT_EQ(wanted.at("event").as_string(), "certificates.wanted");
  guestd.management->send(as_bytes("{\"id\":5,\"method\":\"status\"}\n"));
  EXPECT_THAT(guestd.management->receive_line(), HasSubstr("NotFound"));
  wanted.as_object()
      ["ek"
       "Rsa"] = wanted.at("ak");
  guestd.management->send(as_bytes(ca_.certify(wanted, vm_)));
  EXPECT_THAT(guestd.management->receive_line(), HasSubstr("another key"));
  EXPECT_EQ(guestd.wait(), exit_code(ErrorCode::invalid_argument));
}

TEST_F(GuestdProgram, GivesUpManufactureWhenItsPeerGoesAwayOrASignalComes) {
  {
    Guestd guestd = Guestd::manufacture(vm_, test::erased_flash());
    guestd.management->receive_line();
    guestd.management.reset();
    EXPECT_EQ(guestd.wait(), exit_code(ErrorCode::unavailable));
  }
  Guestd guestd = Guestd::manufacture(other_, test::erased_flash());
  guestd.management->receive_line();
  guestd.signal(SIGTERM);
  EXPECT_EQ(guestd.wait(), exit_code(ErrorCode::cancelled));
}

TEST_F(GuestdProgram, ExplainsWrongArguments) {
  const auto run = [](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), BOOTSEAL_GUESTD);
    return run_command({.arguments = std::move(arguments)}, {}, 10s).value();
  };
  EXPECT_THAT(run({}).standard_error, HasSubstr("usage:"));
  EXPECT_EQ(run({"serve"}).exit_code, exit_code(ErrorCode::invalid_argument));
  EXPECT_THAT(run({"serve", "--ready-fd", "99"}).standard_error, HasSubstr("no inherited descriptor"));
  EXPECT_THAT(run({"serve", "--ready-fd", "2x"}).standard_error, HasSubstr("no whole number"));
  EXPECT_THAT(run({"serve", "--ready-fd", "3", "--ready-fd", "4"}).standard_error, HasSubstr("given twice"));
  EXPECT_THAT(run({"--version"}).standard_output, HasSubstr("bootseal-guestd 0."));
}

}  // namespace
}  // namespace bootseal::guest
