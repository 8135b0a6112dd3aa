#include "admin/hwflush/resolve.h"

#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <memory>

namespace cairn::admin::hwflush {
namespace {

std::unexpected<Error> no_server(const std::string& text) {
  return fail(Code::kInvalidArgument, "'" + text + "' is not SERVER or SERVER:PORT");
}

}  // namespace

Result<net::Address> split_server(const std::string& text, std::uint16_t default_port) {
  std::string host = text;
  std::string port;
  if (text.starts_with('[')) {
    const std::size_t close = text.find(']');
    if (close == std::string::npos) return no_server(text);
    host = text.substr(1, close - 1);
    const std::string rest = text.substr(close + 1);
    if (!rest.empty() && (rest[0] != ':' || rest.size() == 1)) return no_server(text);
    if (!rest.empty()) port = rest.substr(1);
  } else if (std::ranges::count(text, ':') == 1) {
    const std::size_t colon = text.find(':');
    host = text.substr(0, colon);
    port = text.substr(colon + 1);
    if (port.empty()) return no_server(text);
  }
  if (host.empty()) return no_server(text);
  if (port.empty()) return net::Address{host, default_port};
  std::uint16_t number = 0;
  const char* const end = port.data() + port.size();
  const auto [rest, error] = std::from_chars(port.data(), end, number);
  if (error != std::errc() || rest != end || number == 0) return no_server(text);
  return net::Address{host, number};
}

Result<std::vector<net::Address>> resolve(const net::Address& named) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_ADDRCONFIG;
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo(named.host.c_str(), nullptr, &hints, &found);
  if (error != 0) {
    return fail(Code::kNotFound,
                "there is no address of '" + named.host + "': " + ::gai_strerror(error));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owned(found, &::freeaddrinfo);
  std::vector<net::Address> result;
  for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
    std::array<char, NI_MAXHOST> text = {};
    if (::getnameinfo(at->ai_addr, at->ai_addrlen, text.data(), text.size(), nullptr, 0,
                      NI_NUMERICHOST) == 0) {
      result.push_back({text.data(), named.port});
    }
  }
  if (result.empty()) return fail(Code::kNotFound, "there is no address of '" + named.host + "'");
  return result;
}

}  // namespace cairn::admin::hwflush
