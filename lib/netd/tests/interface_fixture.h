// An interface as the control plane sends it.
#pragma once

#include "bootseal/netd/interface.h"

namespace bootseal::netd::test {

inline constexpr std::string_view kInterface = R"({
  "nicId": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkInterfaces/n",
  "mac": "00-0D-3A-01-02-03", "networkId": "/v", "subnet": "10.0.0.0/24", "address": "10.0.0.4",
  "gateway": "10.0.0.1", "dns": ["168.63.129.16"], "publicAddress": "127.64.0.5", "primary": true,
  "inbound": [
    {"name": "no-net-7", "priority": 200, "access": "Deny", "protocol": "*", "sources": ["203.0.113.0/24"], "ports": ["*"]},
    {"name": "ssh", "priority": 300, "access": "Allow", "protocol": "Tcp", "sources": ["*"], "ports": ["22"]},
    {"name": "web", "priority": 310, "access": "Allow", "protocol": "*", "sources": ["198.51.100.0/24", "2001:db8::/32"], "ports": ["80-81"]},
    {"name": "AllowVnetInBound", "priority": 65000, "access": "Allow", "protocol": "*", "sources": ["10.0.0.0/16"], "ports": ["*"]},
    {"name": "DenyAllInBound", "priority": 65500, "access": "Deny", "protocol": "*", "sources": ["*"], "ports": ["*"]}],
  "outbound": [
    {"name": "no-mail", "priority": 100, "access": "Deny", "protocol": "Tcp", "destinations": ["*"], "ports": ["25"]},
    {"name": "no-bad-net", "priority": 110, "access": "Deny", "protocol": "*", "destinations": ["192.0.2.0/24"], "ports": ["*"]}]})";

inline Result<Interface> read_interface(std::string_view text) {
  BOOTSEAL_TRY(const json::Value value, json::parse(text));
  BOOTSEAL_TRY(json::Reader reader, json::Reader::object(value, "network[0]"));
  return parse_interface(reader);
}

inline Interface test_interface() {
  return read_interface(kInterface).value();
}

}  // namespace bootseal::netd::test
