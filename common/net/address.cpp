#include <boost/asio/ip/address.hpp>
#include <charconv>

#include "common/net/stream.h"

namespace cairn::net {
namespace {

std::unexpected<Error> refuse(std::string_view text, const char* why) {
  return fail(Code::kInvalidArgument,
              "\"" + std::string(text.substr(0, 80)) + "\" is not ADDRESS:PORT: " + why);
}

}  // namespace

Result<Address> Address::parse(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return refuse(text, "no port");
  std::string_view host = text.substr(0, colon);
  const std::string_view digits = text.substr(colon + 1);

  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  boost::system::error_code error;
  const boost::asio::ip::address parsed = boost::asio::ip::make_address(host, error);
  if (error) return refuse(text, "not an IP address (names are not looked up)");
  if (parsed.is_v6() != bracketed)
    return refuse(text, "an IPv6 address stands in [ ], IPv4 does not");

  std::uint16_t port = 0;
  const char* const end = digits.data() + digits.size();
  const auto [stop, code] = std::from_chars(digits.data(), end, port);
  if (code != std::errc{} || stop != end || port == 0) return refuse(text, "bad port");
  return Address{parsed.to_string(), port};
}

std::string Address::to_string() const {
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

}  // namespace cairn::net
