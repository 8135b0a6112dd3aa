#include "mds/state/policies.h"

#include "common/erasure/encoding.h"

namespace cairn::mds::state {
namespace {

constexpr std::uint32_t kTierMax = 3;

}  // namespace

Status check_policy(const pb::Policy& policy) {
  if (policy.has_encoding()) {
    const pb::Encoding& e = policy.encoding();
    TRY_VOID(erasure::Encoding::make(e.data(), e.parity(), e.min()));
  }
  if (policy.tier() > kTierMax) {
    return fail(Code::kInvalidArgument,
                "tiers are 0 to 3, there is no tier " + std::to_string(policy.tier()));
  }
  if (!pb::DomainLevel_IsValid(policy.failure_domain())) {
    return fail(Code::kInvalidArgument, "unknown failure domain");
  }
  return {};
}

pb::Policy root_policy() {
  pb::Policy policy;
  policy.mutable_encoding()->set_data(1);
  policy.mutable_encoding()->set_parity(0);
  policy.mutable_encoding()->set_min(1);
  policy.set_tier(0);
  policy.set_failure_domain(pb::DOMAIN_HOST);
  return policy;
}

}  // namespace cairn::mds::state
