#include "bootseal/tpm/hash.h"

namespace bootseal::tpm {

crypto::HashAlgorithm hash_of(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::sha1:
      return crypto::HashAlgorithm::sha1;
    case Algorithm::sha256:
      return crypto::HashAlgorithm::sha256;
    case Algorithm::sha384:
      return crypto::HashAlgorithm::sha384;
    case Algorithm::sha512:
      return crypto::HashAlgorithm::sha512;
    case Algorithm::sm3_256:
      return crypto::HashAlgorithm::sm3;
  }
  check_failed("a known hash algorithm", __FILE__, __LINE__);
}

}  // namespace bootseal::tpm
