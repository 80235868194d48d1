// Recorded logs and quotes (tests/data/README.md).
#pragma once

#include <string>
#include <vector>

#include "bootseal/base/bytes.h"
#include "bootseal/json/json.h"

namespace bootseal::tpm::testing {

// The file under tests/data, unpacked when its name ends in ".gz". Ends the program when it is not there.
Bytes fixture(const std::string& name);
// tests/data/manifest.json.gz: lists "logs" and "quotes".
const json::Value& manifest();
// tests/data/vm-logs/expected.json: one object for each run that has a log.
const json::Value& vm_runs();
// manifest()["quotes"] entry of this name.
const json::Object& quote_entry(const std::string& name);

}  // namespace bootseal::tpm::testing
