// What the command line says about identities and the cloud's clients, as plain data.
#pragma once

#include <string>

#include "options.h"

namespace bootseal::app {

struct IdentityOptions {
  std::string name;
  std::string role;
  std::string scope;
  std::string certificate;  // a file in PEM
  bool password = false;    // a user, who signs in with a password
  unsigned days = 0;        // of a secret; 0 = the server's default
  std::string credential;   // an id
  std::string code;         // of a device
  std::string as;           // the principal that a device is signed in as
  bool yes = false;
};

Status identity_create(const Global& global, const IdentityOptions& options);
Status identity_list(const Global& global);
Status identity_show(const Global& global, const IdentityOptions& options);
Status identity_delete(const Global& global, const IdentityOptions& options);
Status identity_approve(const Global& global, const IdentityOptions& options);
Status credential_add(const Global& global, const IdentityOptions& options);
Status credential_list(const Global& global, const IdentityOptions& options);
Status credential_remove(const Global& global, const IdentityOptions& options);
// How az, the SDKs and curl reach this site.
Status cloud_show(const Global& global);

}  // namespace bootseal::app
