// Public IP addresses: each is an address of the site's pool, allotted when the resource is made and free
// again when it is deleted.
#include <fmt/format.h>

#include <set>

#include "bootseal/base/ids.h"
#include "members.h"
#include "network.h"
#include "service.h"

namespace bootseal::api {
namespace {

using model::ArmResult;
using model::ArmStatus;
using model::Ipv4Address;

std::string claim_key(std::string_view address) {
  return fmt::format("addresses/public/{}", address);
}

// The lowest address of the pool that nobody has; the first and the last of each 256 are left out, as
// programs take them for networks and broadcasts.
ArmResult<Ipv4Address> free_address(Service& service) {
  const model::Ipv4Prefix& pool = service.public_pool;
  BOOTSEAL_ARM_TRY(const auto others, service.resources.of_type(kPublicAddresses));
  std::set<Ipv4Address> taken;
  for (const ResourcePointer& other : others) {
    if (const auto address = Ipv4Address::parse(text_member(other->state, "ipAddress")))
      taken.insert(*address);
  }
  for (std::uint64_t value = pool.first().value; value <= pool.last().value; ++value) {
    const Ipv4Address address{static_cast<std::uint32_t>(value)};
    const std::uint32_t last_byte = address.value & 0xffU;
    const bool edge = pool.length < 31 && (last_byte == 0 || last_byte == 255);
    if (!edge && !taken.contains(address)) return address;
  }
  return model::refuse(
      409, "PublicIPAddressPoolExhausted",
      fmt::format("All addresses of the pool {} are in use. Delete a public IP address, or give the "
                  "site a larger pool.",
                  pool.to_string()));
}

class PublicAddressProvider final : public ResourceProvider {
 public:
  ArmStatus prepare(Service& service, const Caller& /*caller*/, Draft& draft) override {
    json::Object& properties = draft.record.properties();
    if (text_member(properties, "publicIPAddressVersion") == "IPv6") {
      return model::refuse(400, "UnsupportedAddressFamily",
                           "This site's public addresses are of IPv4. Leave publicIPAddressVersion out.",
                           "publicIPAddressVersion");
    }
    json::Object& sku = make_object_member(draft.record.body, "sku");
    set_default(sku, "name", "Basic");
    set_default(sku, "tier", "Regional");
    const bool standard = text_member(sku, "name") == "Standard";
    set_default(properties, "publicIPAllocationMethod", standard ? "Static" : "Dynamic");
    if (standard && text_member(properties, "publicIPAllocationMethod") == "Dynamic") {
      return model::refuse(400, "StandardSkuPublicIPAddressesMustBeStatic",
                           fmt::format("Standard sku publicIp {} must have AllocationMethod set to Static.",
                                       draft.record.id.to_string()),
                           "publicIPAllocationMethod");
    }
    set_default(properties, "publicIPAddressVersion", "IPv4");
    BOOTSEAL_ARM_TRY_STATUS(take_timeout(properties));
    if (draft.existing != nullptr) return {};
    BOOTSEAL_ARM_TRY(const Ipv4Address address, free_address(service));
    const std::string text = address.to_string();
    draft.record.state["ipAddress"] = text;
    draft.record.state["resourceGuid"] = Guid::random().to_string();
    draft.also.conditions.push_back(store::Condition::absent(claim_key(text)));
    draft.also.writes.emplace_back(store::Put{claim_key(text), draft.record.key(), {}});
    return {};
  }

  void complete(Service& service, const ResourceRecord& record, json::Object& answer) override {
    json::Object& properties = answer["properties"].get_object();
    properties["ipAddress"] = text_member(record.state, "ipAddress");
    properties["resourceGuid"] = text_member(record.state, "resourceGuid");
    set_default(properties, "ipTags", json::Array());
    if (const auto uses = configurations_using(service, "publicIPAddress", record.id); uses && !uses->empty())
      properties["ipConfiguration"] = json::Object{{"id", uses->front().id()}};
  }

  ArmStatus check_deletion(Service& service, const ResourceRecord& record) override {
    BOOTSEAL_ARM_TRY(const auto uses, configurations_using(service, "publicIPAddress", record.id));
    if (uses.empty()) return {};
    return model::refuse(
        400, "PublicIPAddressCannotBeDeleted",
        fmt::format("Public IP address {} can not be deleted since it is still allocated to resource "
                    "{}. In order to delete the public IP, disassociate/detach the Public IP address "
                    "from the resource.",
                    record.id.to_string(), uses.front().id()));
  }

  void release(Service& /*service*/, const ResourceRecord& record, ResourceChange& also) override {
    also.writes.emplace_back(store::Delete{claim_key(text_member(record.state, "ipAddress"))});
  }

 private:
  static ArmStatus take_timeout(json::Object& properties) {
    constexpr std::int64_t kShortest = 4;
    constexpr std::int64_t kLongest = 30;
    set_default(properties, "idleTimeoutInMinutes", kShortest);
    const json::Value& minutes = properties.at("idleTimeoutInMinutes");
    if (minutes.is_int64() && minutes.get_int64() >= kShortest && minutes.get_int64() <= kLongest) return {};
    return model::refuse(400, "IdleTimeoutInMinutesOutOfRange",
                         fmt::format("idleTimeoutInMinutes is {}; it must be from {} to {}.",
                                     json::serialize(minutes), kShortest, kLongest),
                         "idleTimeoutInMinutes");
  }
};

}  // namespace

std::unique_ptr<ResourceProvider> make_public_address_provider() {
  return std::make_unique<PublicAddressProvider>();
}

}  // namespace bootseal::api
