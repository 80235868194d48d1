// What the Router keeps of a route, and what the server asks it.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "bootseal/net/server.h"

namespace bootseal::net {

struct Router::Route {
  enum class Kind { fixed, parameter, rest };
  struct Segment {
    Kind kind;
    std::string text;  // the fixed text, or the parameter's name
  };

  std::string method;  // "GET"; empty for a WebSocket
  std::vector<Segment> segments;
  Handler handler;
  std::function<Status(const Request&)> authorise;
  WebSocketHandler websocket_handler;

  // The text of a template; a broken one is a defect of the program.
  static std::vector<Segment> parse_template(std::string_view path_template);
  [[nodiscard]] bool matches(const std::vector<std::string_view>& path) const;
  // True when this template says more about a path that both match.
  [[nodiscard]] bool more_specific_than(const Route& other) const;
  void bind(const std::vector<std::string_view>& path, Request& request) const;
};

struct RouterAccess {
  // The filters, the route and its `authorise`: the handler to hand the WebSocket to, or the answer to send
  // instead of the upgrade.
  static tl::expected<WebSocketHandler, Response> prepare_websocket(const Router& router, Request& request);
};

}  // namespace bootseal::net
