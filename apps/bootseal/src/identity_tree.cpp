// The commands of `bootseal identity` and `bootseal cloud`, as the parser knows them.
#include "command_tree.h"

namespace bootseal::app {
namespace {

constexpr unsigned kLongestSecretDays = 730;

void add_name(CLI::App* sub, IdentityOptions& options) {
  sub->add_option("NAME", options.name, "The service principal's or user's name")->required()->type_name("");
}

}  // namespace

void CommandTree::add_identity_commands() {
  CLI::App* identity = app.add_subcommand("identity", "Who may sign in: service principals and users");
  identity->require_subcommand(1);
  IdentityOptions& options = parsed.identity;

  CLI::App* sub =
      command(*identity, "create", "Make a service principal (for programs), or a user with --password",
              "  bootseal identity create builder --role Contributor            # prints its secret, once\n"
              "  bootseal identity create builder --certificate builder.pem --role Reader --scope "
              "/subscriptions/ID/resourceGroups/rg1\n"
              "  bootseal identity create alice@local --password --role Owner --scope /",
              [this] { return identity_create(parsed.global, parsed.identity); });
  add_name(sub, options);
  sub->add_option("--role", options.role, "A role it gets, by name or id")->type_name("ROLE");
  sub->add_option("--scope", options.scope, "Where it gets the role (default: the subscription)")
      ->type_name("SCOPE");
  CLI::Option* certificate =
      sub->add_option("--certificate", options.certificate, "Its certificate, instead of a secret")
          ->check(CLI::ExistingFile.description(""))
          ->type_name("FILE");
  sub->add_flag("--password", options.password, "A user, who signs in with a password")
      ->excludes(certificate);
  add_output(sub);

  sub = command(*identity, "list", "Everybody who may sign in", "  bootseal identity list",
                [this] { return identity_list(parsed.global); });
  add_output(sub);
  sub = command(*identity, "show", "One, with its credentials", "  bootseal identity show builder",
                [this] { return identity_show(parsed.global, parsed.identity); });
  add_name(sub, options);
  add_output(sub);
  sub = command(*identity, "delete", "Delete one, with its roles", "  bootseal identity delete builder --yes",
                [this] { return identity_delete(parsed.global, parsed.identity); });
  add_name(sub, options);
  sub->add_flag("-y,--yes", options.yes, "Do not ask");
  add_output(sub);
  sub =
      command(*identity, "approve", "Approve a sign-in that shows a code (az login --use-device-code)",
              "  bootseal identity approve BCDF-GHJK\n  bootseal identity approve BCDF-GHJK --as alice@local",
              [this] { return identity_approve(parsed.global, parsed.identity); });
  sub->add_option("CODE", options.code, "The code that the program shows")->required()->type_name("");
  sub->add_option("--as", options.as, "Who is signed in (default: bootseal-admin)")->type_name("NAME");
  add_output(sub);
  add_credential_commands(*identity);

  CLI::App* cloud = app.add_subcommand("cloud", "This site as Azure's clients see it");
  cloud->require_subcommand(1);
  sub = command(*cloud, "show", "What to type to use az, the SDKs and curl with this site",
                "  bootseal cloud show\n  bootseal cloud show -o json",
                [this] { return cloud_show(parsed.global); });
  add_output(sub);
}

void CommandTree::add_credential_commands(CLI::App& identity) {
  IdentityOptions& options = parsed.identity;
  CLI::App* credential = identity.add_subcommand("credential", "Secrets, passwords and certificates");
  credential->require_subcommand(1);
  CLI::App* sub =
      command(*credential, "add", "Add a secret (to a user: a password), or a certificate",
              "  bootseal identity credential add builder --days 90    # prints the secret, once\n"
              "  bootseal identity credential add builder --certificate new.pem",
              [this] { return credential_add(parsed.global, parsed.identity); });
  add_name(sub, options);
  CLI::Option* certificate =
      sub->add_option("--certificate", options.certificate, "A certificate, instead of a secret")
          ->check(CLI::ExistingFile.description(""))
          ->type_name("FILE");
  sub->add_option("--days", options.days, "How long the secret lives (default: 365)")
      ->check(CLI::Range(1U, kLongestSecretDays).description(""))
      ->excludes(certificate)
      ->type_name("DAYS");
  add_output(sub);
  sub = command(*credential, "list", "When each ends", "  bootseal identity credential list builder",
                [this] { return credential_list(parsed.global, parsed.identity); });
  add_name(sub, options);
  add_output(sub);
  sub = command(*credential, "remove", "Remove one",
                "  bootseal identity credential remove builder 6ba7b810-9dad-11d1-80b4-00c04fd430c8",
                [this] { return credential_remove(parsed.global, parsed.identity); });
  add_name(sub, options);
  sub->add_option("ID", options.credential, "The credential's id")->required()->type_name("");
  add_output(sub);
}

}  // namespace bootseal::app
