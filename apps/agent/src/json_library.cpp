// Boost.JSON compiled into the static program, for size.
#include <boost/json/src.hpp>
