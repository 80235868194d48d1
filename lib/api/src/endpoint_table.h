// Finds the endpoint of a request. Paths are compared without regard to case of the fixed words; repeated and
// trailing slashes do not count. Of several templates that fit, fixed words win over parameters, from left to
// right. HEAD is served by GET where it has no endpoint of its own.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "bootseal/model/endpoint.h"

namespace bootseal::api {

class EndpointTable {
 public:
  // `endpoints` must outlive the table.
  explicit EndpointTable(const std::vector<model::Endpoint>& endpoints);

  struct Match {
    const model::Endpoint* endpoint = nullptr;      // nullptr = none with this method
    std::map<std::string, std::string> parameters;  // {name} -> text
    std::set<std::string> methods;                  // of the path; empty = nothing is there
  };
  [[nodiscard]] Match find(std::string_view method, std::string_view path) const;

 private:
  struct Route {
    const model::Endpoint* endpoint;
    std::vector<std::string> segments;  // "{name}" is a parameter
  };
  std::map<std::size_t, std::vector<Route>> routes_;  // by the number of segments
};

}  // namespace bootseal::api
