// The registry of resource types: what a type is called, what its body looks like, what its requests answer.
// The endpoints of a type, its schemas in the OpenAPI document and its line in `GET …/providers` come from
// it.
//
// To add a type: a function that returns it (src/resource_types_….cpp), a line in src/resource_type.cpp, and
// its provider in lib/api (resource_provider.h).
#pragma once

#include <string>
#include <vector>

#include "bootseal/model/endpoint.h"
#include "bootseal/model/resource_id.h"
#include "bootseal/model/schema.h"

namespace bootseal::model {

struct ResourceType {
  // Where resources of the type lie.
  enum class Level : std::uint8_t {
    group,         // /subscriptions/S/resourceGroups/G/providers/…
    subscription,  // /subscriptions/S/providers/…
    extension,     // below any scope: the tenant (if `at_tenant`), a subscription, a group, a resource
  };
  // Who answers its requests.
  enum class Service : std::uint8_t {
    generic,   // resource_provider.h in lib/api: endpoints are made from this description
    embedded,  // the same, and it is stored in its parent: member `embedded_member` of the parent's
               // properties
    own,       // handlers of its own; the type is listed only
  };

  std::string provider;                   // "Microsoft.Network"
  std::string type;                       // "virtualNetworks/subnets"
  std::string operations;                 // first part of the operation ids: "Subnets"
  std::string singular;                   // in summaries and messages: "subnet"
  std::vector<std::string> api_versions;  // that `GET …/providers` lists, newest first
  Level level = Level::group;
  Service service = Service::generic;
  bool tracked = true;          // has a location and tags, and is shown in `GET …/resources`
  bool at_tenant = false;       // of an extension
  std::string embedded_member;  // "subnets"
  // The body of PUT and of answers, with `properties` and what else the type has beside id, name, type, etag,
  // location and tags, which are added. nullptr for a type with handlers of its own.
  SchemaRef schema;
  int status_of_creation = 201;
  int status_of_update = 200;
  bool has_patch = true;      // PATCH of the tags (and of `patch_schema`, when the type has one)
  SchemaRef patch_schema;     // properties and other members that PATCH may name; nullptr = tags only
  bool long_running = false;  // PUT, PATCH and DELETE are brought about by the reconciler and have operations
  std::size_t minimum_name = 1;
  std::size_t maximum_name = 80;

  [[nodiscard]] std::string full_type() const { return provider + "/" + type; }
  // "VirtualNetworks_CreateOrUpdate"; `verb` is ListAll, List, Get, CreateOrUpdate, Update or Delete. Those
  // of an extension end with its level: "Locks_GetAtGroup".
  [[nodiscard]] std::string operation(std::string_view verb) const {
    return operations + "_" + std::string(verb);
  }
};

// All of them, in the order in which they are listed.
const std::vector<ResourceType>& resource_types();
// Compared without regard to case; nullptr for one that is not known.
const ResourceType* find_resource_type(std::string_view provider, std::string_view type);
inline const ResourceType* find_resource_type(const ResourceId& id) {
  return find_resource_type(id.provider, id.type);
}
// The embedded types whose parent is this one.
std::vector<const ResourceType*> embedded_types_of(const ResourceType& parent);

// The name rule of Azure's types: letters, digits, '.', '_', '-' between; begins with a letter or digit, ends
// with one or with '_'. 400 InvalidResourceName.
ArmStatus check_resource_name(const ResourceType& type, std::string_view name);
// At most 50 tags, names of 1 to 512 characters without <>%&\?/ and not beginning with microsoft, azure or
// windows, values of at most 256. 400 InvalidTagNameLength, InvalidTagValueLength, InvalidTagNameCharacters,
// ReservedTagName, InvalidTags, also when two names differ in case only.
ArmStatus check_tags(const json::Object& tags);

// The schema of a whole resource: what every one has, and the type's own.
SchemaRef resource_schema(const ResourceType& type);
// The endpoints of a generic or embedded type.
std::vector<Endpoint> endpoints_of(const ResourceType& type);

}  // namespace bootseal::model
